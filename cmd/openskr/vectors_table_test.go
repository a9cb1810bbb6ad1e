package main

import (
	"testing"

	"github.com/openskr/openskr/attest"
)

// vectorTable says what becomes of each folder.
func vectorTable() map[string]func(*testing.T, string) {
	table := map[string]func(*testing.T, string){
		"cca-01-trustee":           verify(vectorCase{args: "--type cca --token token.cbor", check: attest.CheckTypeUnsupported}),
		"nvgpu-01-hopper-nvattest": verify(vectorCase{args: "--type nvgpu --report test_raw_gpu_attestation_report.dat", check: attest.CheckTypeUnsupported}),
		"nvgpu-02-hopper-trustee":  verify(vectorCase{args: "--type nvgpu --report report.txt", check: attest.CheckTypeUnsupported}),
	}
	for _, part := range []map[string]func(*testing.T, string){snpVectors(), azureVectors(), intelVectors(), otherVectors(), logVectors()} {
		for name, run := range part {
			table[name] = run
		}
	}
	return table
}

func snpVectors() map[string]func(*testing.T, string) {
	const milan = "--type snp --report report.bin --endorsement vcek.der"
	return map[string]func(*testing.T, string){
		"snp-01-milan-gosevguest": verify(
			vectorCase{args: milan, check: attest.CheckDebug},
			vectorCase{args: milan + " --endorsement ask_ark.pem", check: attest.CheckDebug}),
		"snp-02-milan-trustee": verify(
			vectorCase{args: milan, claims: map[string]any{
				"snp.version": 2, "snp.guest_svn": 4, "snp.policy.debug": false, "snp.policy.smt": true, "snp.provisional": true,
				"snp.id_key_digest": "0356…", "snp.tcb.committed.microcode": 0x73, "snp.tcb.current.microcode": 0xce, "x-ms-sevsnpvm-is-debuggable": false, "x-ms-attestation-type": "sevsnpvm",
			}},
			vectorCase{args: "--type snp --report report.bin --endorsement ask_ark_asvk.pem --endorsement vcek.der"},
			vectorCase{args: "--type snp --report report.bin --endorsement negative-vcek-invalid-legacy.der", check: attest.CheckChainUntrusted},
			vectorCase{args: "--type snp --report report.bin --endorsement negative-vcek-invalid-new.der", check: attest.CheckChainUntrusted},
			vectorCase{args: milan + " --at 2040-01-01T00:00:00Z", check: attest.CheckChainExpired},
			vectorCase{args: milan + " " + hexNonce("another"), check: attest.CheckReportData}),
		"snp-03-milan-vlek-trustee": verify(
			vectorCase{at: "2025-06-01T00:00:00Z", args: "--type snp --report report.bin --endorsement vlek.der", claims: map[string]any{
				"snp.version": 3, "snp.signer": "vlek", "snp.vmpl": 1, "snp.csp_id": "CN=cc-us-east-2.amazonaws.com",
				"snp.tcb.reported.microcode": 0xd9, "snp.tcb.reported.snp": 0x18, "snp.tcb.current.microcode": 0xdc, "snp.chip_id": nil,
			}},
			vectorCase{args: "--type snp --report report.bin --endorsement vlek.der", check: attest.CheckChainExpired}),
		"snp-04-milan-virtee": verify(vectorCase{args: milan, claims: map[string]any{
			"snp.version": 2, "snp.product": "Milan", "snp.vmpl": 0, "snp.provisional": false, "snp.policy.smt": true,
		}}),
		"snp-05-milan-microsoft": verify(vectorCase{
			args: "--type snp --report report.bin --endorsement ark.pem --endorsement ask.pem --endorsement vcek.pem",
			claims: map[string]any{
				"snp.version": 3, "x-ms-sevsnpvm-launchmeasurement": "5feee30d…", "x-ms-sevsnpvm-hostdata": "4f4448c6…",
				"snp.tcb.reported.microcode": 219, "snp.tcb.reported.snp": 24, "snp.tcb.reported.boot_loader": 4,
			},
		}),
		"snp-07-turin-microsoft": verify(vectorCase{args: "--type snp --report report.bin --endorsement vcek.pem", claims: map[string]any{
			"snp.version": 5, "snp.product": "Turin", "snp.tcb.reported.fmc": 1, "snp.tcb.reported.boot_loader": 1, "snp.tcb.reported.tee": 1,
			"snp.tcb.reported.snp": 4, "snp.tcb.reported.microcode": 81, "snp.platform_info.iommu_write_safe": true,
		}}),
		"snp-08-genoa-v5-lunal": verify(
			vectorCase{args: milan, claims: map[string]any{
				"snp.version": 5, "snp.product": "Genoa", "snp.report_data": "68656c6c6f2d6174746573746174696f6e00…",
				"snp.platform_info.alias_check_complete": true, "snp.tcb.reported.microcode": 27,
			}},
			vectorCase{args: milan + " " + hexNonce("hello-attestation"), top: map[string]any{"freshness": "checked"}},
			vectorCase{args: milan + " --require-revocation", check: attest.CheckCertRevoked}),
		"snp-09-veraison-tsm": verify(vectorCase{args: "--type snp --report report.bin --endorsement auxblob.bin", claims: map[string]any{
			"snp.version": 3, "snp.product": "Genoa",
		}}),
	}
}

func azureVectors() map[string]func(*testing.T, string) {
	const quoted = "--type azure-cvm --hcl hcl-report.bin --quote tpm-quote.msg --signature tpm-quote.sig --pcrs pcrs-sha256.txt"
	const snp = quoted + " --endorsement vcek.der"
	smt := map[string]any{
		"snp.vmpl": 0, "snp.policy.debug": false, "snp.policy.smt": true, "x-ms-attestation-type": "azurevm",
		"x-ms-isolation-tee.x-ms-attestation-type": "sevsnpvm", "azure.hcl_version": 1,
	}
	return map[string]func(*testing.T, string){
		"azure-01-snp-milan-tooling": verify(
			vectorCase{args: "--type azure-cvm --hcl hcl-report-snp.bin --endorsement certs.pem", check: attest.CheckChipMismatch}),
		"azure-02-tdx-tooling": verify(
			vectorCase{args: "--type azure-cvm --hcl hcl-report-tdx.bin", check: attest.CheckNotLinked}),
		"azure-03-snp-genoa-trustee-v1": verify(
			vectorCase{args: snp + " " + hexNonce("challenge"), claims: smt, top: map[string]any{"freshness": "checked"}},
			vectorCase{args: snp, claims: smt, top: map[string]any{"freshness": "not_checked"}},
			vectorCase{args: "--type azure-cvm --hcl hcl-report.bin --endorsement vcek.der", claims: map[string]any{"snp.vmpl": 0, "azure.hcl_version": 1, "tpm": nil}},
			vectorCase{args: "--type azure-cvm --hcl hcl-report.bin --endorsement vcek.der --nonce 00", check: attest.CheckMalformed},
			vectorCase{args: snp + " " + hexNonce("Challenge"), check: attest.CheckReportData}),
		"azure-04-snp-genoa-trustee-v2": verify(
			vectorCase{args: snp, claims: smt},
			vectorCase{args: snp + " --nonce 00", check: attest.CheckReportData}),
		"azure-06-tdx-trustee-v1": verify(
			vectorCase{args: quoted + " --td-quote td-quote.bin " + hexNonce("challenge"), claims: map[string]any{
				"azure.hcl_version": 2, "x-ms-isolation-tee.x-ms-attestation-type": "tdxvm", "tdx.fmspc": "00806f050000", "tdx.version": 4,
			}, top: map[string]any{"tcb_status": "unknown"}},
			vectorCase{args: quoted + " --td-quote td-quote.bin --require-tcb", check: attest.CheckTCBUnknown},
			vectorCase{args: quoted, check: attest.CheckNotLinked}),
		"azure-08-snp-genoa-lunal-live": verify(
			vectorCase{args: snp + " " + hexNonce("attestation-test-fixture"), claims: smt},
			vectorCase{args: quoted + " --endorsement imds-chain-0.der --endorsement imds-vcek.der --endorsement imds-chain-1.der", claims: smt},
			vectorCase{args: quoted + " --endorsement imds-chain-0.der", check: attest.CheckChainUntrusted}),
	}
}

func intelVectors() map[string]func(*testing.T, string) {
	const tdx, sgx = "--type tdx --quote quote.bin", "--type sgx --quote quote.bin"
	unknown := map[string]any{"tcb_status": "unknown", "revocation": "not_checked"}
	return map[string]func(*testing.T, string){
		"tdx-01-spr-gotdxguest": verify(
			vectorCase{args: tdx, claims: map[string]any{"tdx.fmspc": "50806f000000", "tdx_mrtd": "6363b804…", "tdx_td_attributes_protection_keys": true}, top: unknown},
			vectorCase{at: "2023-07-01T12:00:00Z", args: tdx + " --collateral .", check: attest.CheckTCBUnknown},
			vectorCase{args: tdx + " --collateral .", check: attest.CheckCollateralStale}),
		"tdx-02-gce-cos113": verify(
			vectorCase{args: tdx + " --ccel ccel_data.bin", claims: map[string]any{"tdx.fmspc": "00806f050000", "tdx.eventlog.present": true}, top: unknown},
			vectorCase{args: tdx + " --require-tcb", check: attest.CheckTCBUnknown}),
		"tdx-03-trustee-tdx_quote_4": verify(vectorCase{args: tdx, check: attest.CheckDebug}),
		"tdx-04-trustee-tdx_quote_5": verify(
			vectorCase{args: tdx, claims: map[string]any{"tdx.version": 5, "tdx.fmspc": "90c06f000000", "tdx.mrservicetd": "383c87d3…"}, top: unknown}),
		"tdx-06-phala": verify(
			vectorCase{
				at: "2025-06-20T00:00:00Z", args: tdx + " --collateral collateral.json --require-tcb --require-revocation",
				claims: map[string]any{"tdx.fmspc": "b0c06f000000", "attester_tcb_status": "UpToDate"}, top: map[string]any{"tcb_status": "UpToDate"},
			},
			vectorCase{args: tdx + " --collateral collateral.json", check: attest.CheckCollateralStale}),
		"tdx-07-phala-outdated": verify(
			vectorCase{args: tdx, claims: map[string]any{"tdx.version": 5, "tdx.tee_tcb_svn": "0701…", "tdx.tee_tcb_svn2": "0d01…"}, top: unknown},
			vectorCase{at: outdatedDay, args: tdx + " --collateral collateral.json", check: attest.CheckTCBUnknown}),
		"tdx-10-lunal-live": verify(
			vectorCase{args: tdx + " --ccel ccel_live2.bin", claims: map[string]any{"tdx.eventlog.present": true}, top: unknown},
			vectorCase{args: tdx + " --ccel ccel_live.bin", check: attest.CheckEventLogReplay},
			vectorCase{args: tdx + " --collateral .", check: attest.CheckCollateralUnavailable}),
		"sgx-01-occlum": verify(vectorCase{args: sgx, check: attest.CheckDebug}),
		"sgx-02-phala": verify(
			vectorCase{args: sgx, claims: map[string]any{"x-ms-sgx-mrenclave": "33d8736d…", "x-ms-sgx-is-debuggable": false}, top: unknown},
			vectorCase{args: sgx + " --collateral collateral.json", check: attest.CheckCollateralStale}),
	}
}

// outdatedDay is in the life of the PCK certificate and the collateral of tdx-07. Its
// SGX component 7 is 3, and every level asks for 5: none covers the platform, whatever
// a comparison of the components as one number would say.
const outdatedDay = "2026-02-20T00:00:00Z"

func otherVectors() map[string]func(*testing.T, string) {
	return map[string]func(*testing.T, string){
		"nitro-01a-fastcrypto": verify(
			vectorCase{at: "2024-11-14T23:46:29Z", args: "--type nitro --document attdoc.cbor", check: attest.CheckDebug},
			vectorCase{args: "--type nitro --document attdoc.cbor", check: attest.CheckChainExpired}),
		"nitro-01b-fastcrypto": verify(
			vectorCase{at: "2025-11-10T17:20:10Z", args: "--type nitro --document attdoc.cbor", claims: map[string]any{"nitro.pcrs.0": "3aa0e6e6…"}},
			vectorCase{at: "2025-11-10T19:00:00Z", args: "--type nitro --document attdoc.cbor"},
			vectorCase{args: "--type nitro --document attdoc.cbor", check: attest.CheckChainExpired}),
		"tpm-01-gce-cos85-nonce9009": verify(
			vectorCase{args: "--type tpm --attestation attestation.pb --nonce 9009", claims: map[string]any{"secureboot": true}},
			vectorCase{args: "--type tpm --attestation attestation.pb --nonce 9008", check: attest.CheckReportData},
			vectorCase{args: "--type gce --attestation attestation.pb --nonce 9009", claims: map[string]any{
				"gce.instance_name": "cos-test", "gce.project_id": "google.com:wuale-gcp-testing", "secureboot": true,
			}}),
		"tpm-02-gce-cos85-nononce": verify(
			vectorCase{args: "--type tpm --attestation attestation.pb", claims: map[string]any{"secureboot": true}, top: map[string]any{"freshness": "not_checked"}},
			vectorCase{args: "--type tpm --attestation attestation.pb --nonce 9009", check: attest.CheckReportData}),
	}
}
