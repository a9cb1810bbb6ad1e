package token_test

import "strings"

// Shapes of the services' tokens, with made-up values.

var (
	hex16  = strings.Repeat("00", 8)
	hex32  = strings.Repeat("a1", 16)
	hex64  = strings.Repeat("b2", 32)
	hex96  = strings.Repeat("c3", 48)
	hex128 = strings.Repeat("d4", 64)
)

var hexes = strings.NewReplacer("$16", hex16, "$32", hex32, "$64", hex64, "$96", hex96, "$128", hex128)

var maaSNP = hexes.Replace(`{
"jti":"` + hex64 + `","nonce":"4711","x-ms-ver":"1.0","x-ms-attestation-type":"sevsnpvm","x-ms-compliance-status":"azure-compliant-uvm",
"x-ms-policy-hash":"9NY0VnTQ-IiBriBplVUpFbczcDaEBUwsiFYAzHu_gco",
"x-ms-sevsnpvm-authorkeydigest":"$96","x-ms-sevsnpvm-bootloader-svn":3,"x-ms-sevsnpvm-tee-svn":0,"x-ms-sevsnpvm-snpfw-svn":8,
"x-ms-sevsnpvm-microcode-svn":115,"x-ms-sevsnpvm-familyId":"$32","x-ms-sevsnpvm-imageId":"$32","x-ms-sevsnpvm-guestsvn":2,
"x-ms-sevsnpvm-hostdata":"$64","x-ms-sevsnpvm-idkeydigest":"$96","x-ms-sevsnpvm-is-debuggable":false,
"x-ms-sevsnpvm-launchmeasurement":"$96","x-ms-sevsnpvm-migration-allowed":false,"x-ms-sevsnpvm-smt-allowed":true,
"x-ms-sevsnpvm-reportdata":"$128","x-ms-sevsnpvm-reportid":"$64","x-ms-sevsnpvm-vmpl":0,
"x-ms-policy":{"edge-compliant-cvm":true},"x-ms-inittime":{"a":1},"of-tomorrow":{"x":[1,2]}}`)

var maaTDX = hexes.Replace(`{
"x-ms-attestation-type":"tdxvm","eat_profile":"https://aka.ms/maa-eat-profile-tdxvm","dbgstat":"disabled","intuse":"generic",
"attester_tcb_status":"UpToDate","tdx_mrtd":"$96","tdx_rtmr0":"$96","tdx_rtmr1":"$96","tdx_rtmr2":"$96","tdx_rtmr3":"$96",
"tdx_mrconfigid":"$96","tdx_mrowner":"$96","tdx_mrownerconfig":"$96","tdx_mrseam":"$96","tdx_mrsignerseam":"$96",
"tdx_report_data":"$128","tdx_seam_attributes":"$16","tdx_td_attributes":"0000001000000000","tdx_xfam":"e718060000000000",
"tdx_tee_tcb_svn":"$32","tdx_seamsvn":3,"tdx_td_attributes_debug":false,"tdx_td_attributes_septve_disable":true,
"tdx_td_attributes_protection_keys":false,"tdx_td_attributes_key_locker":false,"tdx_td_attributes_perfmon":false}`)

var maaSGX = hexes.Replace(`{
"x-ms-attestation-type":"sgx","x-ms-sgx-is-debuggable":false,"x-ms-sgx-product-id":1,"x-ms-sgx-svn":2,"x-ms-sgx-mrenclave":"$64",
"x-ms-sgx-mrsigner":"$64","x-ms-sgx-collateral":{"qeidhash":"00"},"attester_tcb_status":"UpToDate"}`)

var azureVM = hexes.Replace(`{
"secureboot":true,"x-ms-attestation-type":"azurevm","x-ms-azurevm-attestation-protocol-ver":"2.0","x-ms-azurevm-attested-pcrs":[0,1,2,7],
"x-ms-azurevm-bootdebug-enabled":false,"x-ms-azurevm-dbvalidated":true,"x-ms-azurevm-dbxvalidated":true,
"x-ms-azurevm-debuggersdisabled":true,"x-ms-azurevm-default-securebootkeysvalidated":true,"x-ms-azurevm-elam-enabled":false,
"x-ms-azurevm-flightsigning-enabled":false,"x-ms-azurevm-hvci-policy":0,"x-ms-azurevm-hypervisordebug-enabled":false,
"x-ms-azurevm-is-windows":false,"x-ms-azurevm-kerneldebug-enabled":false,"x-ms-azurevm-osbuild":"NotApplication",
"x-ms-azurevm-osdistro":"Ubuntu","x-ms-azurevm-ostype":"Linux","x-ms-azurevm-osversion-major":22,"x-ms-azurevm-osversion-minor":4,
"x-ms-azurevm-signingdisabled":true,"x-ms-azurevm-testsigning-enabled":false,"x-ms-azurevm-vmid":"6506B531-1634-431E-99D2-42B7D3414AD0",
"x-ms-isolation-tee":{"x-ms-attestation-type":"sevsnpvm","x-ms-compliance-status":"azure-compliant-cvm",
 "x-ms-runtime":{"keys":[{"kid":"HCLAkPub","kty":"RSA"}],"vm-configuration":{"console-enabled":true,"current-time":1661435545,
  "secure-boot":true,"tpm-enabled":true,"vmUniqueId":"6506B531-1634-431E-99D2-42B7D3414AD0"}},
 "x-ms-sevsnpvm-is-debuggable":false,"x-ms-sevsnpvm-migration-allowed":false,"x-ms-sevsnpvm-launchmeasurement":"$96","x-ms-sevsnpvm-vmpl":0},
"x-ms-runtime":{"client-payload":{"nonce":"bm9uY2U="},"keys":[{"e":"AQAB","key_ops":["encrypt"],"kid":"TpmEphemeralEncryptionKey","kty":"RSA","n":"AA"}]}}`)

const gcsTDX = `{
"sub":"https://www.googleapis.com/compute/v1/projects/p/zones/us-central1-c/instances/i","secboot":true,"oemid":11129,
"eat_profile":"https://cloud.google.com/confidential-computing/confidential-space/docs/reference/token-claims",
"hwmodel":"GCP_INTEL_TDX","swname":"CONFIDENTIAL_SPACE","swversion":["250800"],"attester_tcb":["INTEL"],"dbgstat":"disabled-since-boot",
"submods":{"confidential_space":{"monitoring_enabled":{"memory":false},"support_attributes":["LATEST","STABLE","USABLE"]},
 "container":{"image_reference":"reg.example/w@sha256:00","image_digest":"sha256:00","image_id":"sha256:01","restart_policy":"Never",
  "env_override":null,"cmd_override":null,"env":{"HOSTNAME":"vm1","A":"b=c"},"args":["/w","run"],
  "image_signatures":[{"key_id":"k1","signature":"AA","signature_algorithm":"ECDSA_P256_SHA256"}]},
 "gce":{"zone":"us-central1-c","project_id":"p","project_number":"889537417991","instance_name":"i","instance_id":"8114146583384593350"}},
"tdx":{"gcp_attester_tcb_status":"UpToDate","gcp_attester_tcb_date":"2024-03-13T00:00:00Z"},
"google_service_accounts":["1-compute@developer.gserviceaccount.com"]}`

var tdxOfIntel = hexes.Replace(`
"attester_type":"TDX","attester_tcb_status":"UpToDate","attester_tcb_date":"2024-03-13T00:00:00Z","attester_advisory_ids":["INTEL-SA-00828"],
"dbgstat":"disabled","tdx_is_debuggable":false,"tdx_mrtd":"$96","tdx_rtmr0":"$96","tdx_td_attributes":"0000001000000000","tdx_seamsvn":3,
"tdx_td_attributes_debug":false,"tdx_collateral":{"qeidhash":"00"}`)

var itaTDX = `{"eat_profile":"https://portal.trustauthority.intel.com/eat_profile.html","intuse":"generic","ver":"1.0.0","jti":"7e615321",
"verifier_nonce":{"val":"bm9uY2U=","iat":"aWF0","signature":"c2ln"},"verifier_instance_ids":["357a11dd"],
"policy_ids_matched":[{"id":"p1","version":"v1","hash":"aa"}],"policy_ids_unmatched":null,` + tdxOfIntel + `}`

var itaV2 = `{"ver":"2.0.0","tdx":{` + tdxOfIntel + `},"nvgpu":{"x-nvidia-overall-att-result":true}}`

var itaSNP = hexes.Replace(`{"ver":"2.0.0","sevsnp":{"attester_type":"AMD SEV-SNP","sevsnp_is_debuggable":false,"sevsnp_migration_allowed":false,
"sevsnp_launchmeasurement":"$96","sevsnp_bootloader_svn":3,"sevsnp_vmpl":0,"sevsnp_familyId":"$32","sevsnp_collateral":"00"}}`)

var itaSGX = hexes.Replace(`{"ver":"1.0.0","attester_type":"SGX","attester_tcb_status":"SWHardeningNeeded","sgx_is_debuggable":false,
"sgx_mrenclave":"$64","sgx_mrsigner":"$64","sgx_isvprodid":7,"sgx_isvsvn":9,"dbgstat":"disabled"}`)

var trusteeTDX = hexes.Replace(`{"eat_profile":"tag:github.com,2024:confidential-containers/Trustee",
"ear.verifier-id":{"build":"attestation-service 0.1.0","developer":"https://confidentialcontainers.org"},
"submods":{"cpu0":{"ear.status":"affirming","ear.appraisal-policy-id":"default",
  "ear.trustworthiness-vector":{"instance-identity":0,"configuration":2,"executables":3,"file-system":0,"hardware":2,"runtime-opaque":0,"storage-opaque":0,"sourced-data":0},
  "ear.veraison.annotated-evidence":{"report_data":"00","init_data":"00","tdx":{"tcb_status":"UpToDate","td_attributes":{"debug":false},
   "quote":{"header":{"tee_type":"81000000"},"body":{"mr_td":"$96","rtmr_0":"$96","td_attributes":"0000001000000000"}}}}},
 "gpu0":{"ear.status":"affirming","ear.trustworthiness-vector":{"hardware":2}}}}`)

const veraison = `{"eat_profile":"tag:github.com,2023:veraison/ear","ear.verifier-id":{"build":"rrtrap-v1.0.0","developer":"Acme Inc."},
"submods":{"PSA_IOT":{"ear.status":"affirming","ear.appraisal-policy-id":"policy://psa/60a0068d",
 "ear.trustworthiness-vector":{"instance-identity":2,"configuration":2,"executables":3,"hardware":2},
 "ear.veraison.policy-claims":{"bar":"baz"}}}}`
