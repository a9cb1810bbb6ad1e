package token_test

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/attesttest"
	"github.com/openskr/openskr/attest/schema"
	"github.com/openskr/openskr/attest/token"
	"github.com/openskr/openskr/attest/tpm"
)

func TestSchemaUnites(t *testing.T) {
	united := schema.Union(token.Schema(), tpm.Schema())
	if _, ok := united["properties"].(map[string]any)["x-ms-sevsnpvm-launchmeasurement"]; !ok {
		t.Error("lost a claim")
	}
}

// verdict is what a changed token leads to; "" is accepted.
type verdict struct {
	name, kind string
	change     func(*service)
	check      attest.Check
}

// TestDebug: a token must say that debugging is off, and nothing in it may say on.
func TestDebug(t *testing.T) {
	set := func(name string, v any) func(*service) { return func(s *service) { s.payload[name] = v } }
	without := func(names ...string) func(*service) {
		return func(s *service) {
			for _, n := range names {
				delete(s.payload, n)
			}
		}
	}
	guest := func(change func(*service)) func(*service) {
		return func(s *service) { s.merge(t, azureVM); change(s) }
	}
	tdx := func(change func(*service)) func(*service) {
		return func(s *service) { s.merge(t, maaTDX); change(s) }
	}
	for _, v := range []verdict{
		{"SNP", token.KindMAA, set("x-ms-sevsnpvm-is-debuggable", true), attest.CheckDebug},
		{"SNP says nothing", token.KindMAA, without("x-ms-sevsnpvm-is-debuggable"), attest.CheckDebug},
		{"SNP null", token.KindMAA, set("x-ms-sevsnpvm-is-debuggable", nil), attest.CheckDebug},
		{"SNP says it in other case", token.KindMAA, func(s *service) {
			s.payload["X-MS-SEVSNPVM-IS-DEBUGGABLE"] = false
			delete(s.payload, "x-ms-sevsnpvm-is-debuggable")
		}, attest.CheckDebug},
		{"SNP as text", token.KindMAA, set("x-ms-sevsnpvm-is-debuggable", "false"), attest.CheckMalformed},
		{"TDX flag", token.KindMAA, tdx(set("tdx_td_attributes_debug", true)), attest.CheckDebug},
		{"TDX word", token.KindMAA, tdx(set("dbgstat", "enabled")), attest.CheckDebug},
		{"TDX unknown word", token.KindMAA, tdx(set("dbgstat", "Disabled")), attest.CheckDebug},
		{"TDX attributes", token.KindMAA, tdx(set("tdx_td_attributes", "0100001000000000")), attest.CheckDebug},
		{"TDX says nothing", token.KindMAA, tdx(without("tdx_td_attributes_debug", "dbgstat", "tdx_td_attributes")), attest.CheckDebug},
		{"SGX", token.KindMAA, func(s *service) { s.merge(t, maaSGX); s.payload["x-ms-sgx-is-debuggable"] = true }, attest.CheckDebug},
		{"guest", token.KindMAA, guest(func(*service) {}), ""},
		{"guest without a TEE", token.KindMAA, guest(without("x-ms-isolation-tee")), ""},
		{"guest boot debug", token.KindMAA, guest(set("x-ms-azurevm-bootdebug-enabled", true)), attest.CheckDebug},
		{"guest kernel debug", token.KindMAA, guest(set("x-ms-azurevm-kerneldebug-enabled", true)), attest.CheckDebug},
		{"guest hypervisor debug", token.KindMAA, guest(set("x-ms-azurevm-hypervisordebug-enabled", true)), attest.CheckDebug},
		{"guest in a TEE that says nothing", token.KindMAA, guest(func(s *service) {
			delete(s.at("x-ms-isolation-tee"), "x-ms-sevsnpvm-is-debuggable")
		}), attest.CheckDebug},
		{"guest in a TEE that is", token.KindMAA, guest(func(s *service) {
			s.at("x-ms-isolation-tee")["x-ms-sevsnpvm-is-debuggable"] = true
		}), attest.CheckDebug},
		{"GCS", token.KindGCS, set("dbgstat", "enabled"), attest.CheckDebug},
		{"GCS says nothing", token.KindGCS, without("dbgstat"), attest.CheckDebug},
		{"ITA", token.KindITA, set("tdx_is_debuggable", true), attest.CheckDebug},
		{"ITA SGX", token.KindITA, func(s *service) {
			s.merge(t, itaSGX)
			s.payload["sgx_is_debuggable"] = true
		}, attest.CheckDebug},
		{"ITA SNP", token.KindITA, func(s *service) {
			s.version2(t, itaSNP)
			s.at("sevsnp")["sevsnp_is_debuggable"] = true
		}, attest.CheckDebug},
		{"EAR TDX", token.KindEAR, func(s *service) {
			s.annotated()["tdx"].(map[string]any)["td_attributes"] = map[string]any{"debug": true}
		}, attest.CheckDebug},
		{"EAR SNP as text", token.KindEAR, func(s *service) { s.annotated()["snp"] = map[string]any{"policy_debug_allowed": "1"} }, attest.CheckDebug},
		{"EAR without configuration", token.KindEAR, func(s *service) {
			delete(s.at("submods", "cpu0", "ear.trustworthiness-vector"), "configuration")
			delete(s.annotated(), "tdx")
		}, attest.CheckDebug},
		{"EAR with no verdict on configuration", token.KindEAR, func(s *service) {
			s.at("submods", "cpu0", "ear.trustworthiness-vector")["configuration"] = 0
			delete(s.annotated(), "tdx")
		}, attest.CheckDebug},
	} {
		t.Run(v.kind+" "+v.name, func(t *testing.T) {
			s := newService(t, v.kind)
			v.change(s)
			s.judged(t, v)
		})
	}
}

// judged verifies without binding, which is another test's subject.
func (s *service) judged(t *testing.T, v verdict) {
	t.Helper()
	ev := evidence(s.token(t))
	ev.RuntimeData = nil
	res, err := s.verifier(t).Verify(t.Context(), ev, attest.Expect{At: now, Unbound: true})
	r, _ := err.(*attest.Rejection) // the contract: every error is one
	switch {
	case v.check == "" && err != nil || v.check != "" && (r == nil || r.Check != v.check):
		t.Errorf("%v, want %q", err, v.check)
	case v.check == attest.CheckDebug && r.Identity == nil:
		t.Error("the proven machine has no identity")
	case err == nil:
		attesttest.Claims(t, res.Claims, token.Schema())
	}
}

func TestVerdicts(t *testing.T) {
	for _, v := range []verdict{
		{"another type", token.KindMAA, func(s *service) { s.payload["x-ms-attestation-type"] = "tpm" }, attest.CheckTypeNotAllowed},
		{"no type", token.KindMAA, func(s *service) { delete(s.payload, "x-ms-attestation-type") }, attest.CheckTypeNotAllowed},
		{"measurement in capitals", token.KindMAA, func(s *service) {
			s.payload["x-ms-sevsnpvm-launchmeasurement"] = strings.ToUpper(hex96)
		}, attest.CheckMalformed},
		{"measurement cut", token.KindMAA, func(s *service) { s.payload["x-ms-sevsnpvm-launchmeasurement"] = hex96[2:] }, attest.CheckMalformed},
		{"version as text", token.KindMAA, func(s *service) { s.payload["x-ms-sevsnpvm-guestsvn"] = "2" }, attest.CheckMalformed},
		{"guest in an enclave", token.KindMAA, func(s *service) {
			s.merge(t, azureVM)
			s.at("x-ms-isolation-tee")["x-ms-attestation-type"] = "sgx"
		}, attest.CheckMalformed},
		{"two TDX machines", token.KindGCS, func(s *service) {
			up := map[string]any{"gcp_attester_tcb_status": "UpToDate"}
			s.payload["tdx"] = []any{up, up}
		}, attest.CheckMalformed},
		{"no TDX machine", token.KindGCS, func(s *service) { s.payload["tdx"] = []any{} }, attest.CheckMalformed},
		{"TDX and SGX at once", token.KindITA, func(s *service) {
			s.version2(t, itaV2)
			s.payload["sgx"] = map[string]any{}
		}, attest.CheckTypeNotAllowed},
		{"no attester type", token.KindITA, func(s *service) { delete(s.payload, "attester_type") }, attest.CheckTypeNotAllowed},
		{"CPU warned of", token.KindEAR, func(s *service) { s.at("submods", "cpu0")["ear.status"] = "warning" }, attest.CheckTokenVerdict},
		{"CPU contraindicated", token.KindEAR, func(s *service) { s.at("submods", "cpu0")["ear.status"] = "contraindicated" }, attest.CheckTokenVerdict},
		{"GPU not appraised", token.KindEAR, func(s *service) { s.at("submods", "gpu0")["ear.status"] = "none" }, attest.CheckTokenVerdict},
		{"GPU without status", token.KindEAR, func(s *service) { delete(s.at("submods", "gpu0"), "ear.status") }, attest.CheckTokenVerdict},
		{"affirming in another case", token.KindEAR, func(s *service) { s.at("submods", "cpu0")["ear.status"] = "Affirming" }, attest.CheckTokenVerdict},
		{"two and neither the CPU", token.KindEAR, func(s *service) {
			s.at("submods")["gpu1"] = s.at("submods")["cpu0"]
			delete(s.at("submods"), "cpu0")
		}, attest.CheckMalformed},
		{"no submodules", token.KindEAR, func(s *service) { s.payload["submods"] = map[string]any{} }, attest.CheckMalformed},
		{"two that could be the machine", token.KindEAR, func(s *service) { s.at("submods")["cpu"] = s.at("submods")["cpu0"] }, attest.CheckMalformed},
		{"a sample attester", token.KindEAR, func(s *service) { s.annotated()["sample"] = map[string]any{} }, attest.CheckTypeNotAllowed},
	} {
		t.Run(v.kind+" "+v.name, func(t *testing.T) {
			s := newService(t, v.kind)
			v.change(s)
			s.judged(t, v)
		})
	}
}

// TestFacts: migration and TCB status come from the token, and what it leaves out is
// the worse.
func TestFacts(t *testing.T) {
	for _, tt := range []struct {
		name, kind string
		change     func(*service)
		migratable bool
		tcb        string
	}{
		{"SNP", token.KindMAA, func(*service) {}, false, ""},
		{"SNP migration", token.KindMAA, func(s *service) { s.payload["x-ms-sevsnpvm-migration-allowed"] = true }, true, ""},
		{"SNP silent on migration", token.KindMAA, func(s *service) { delete(s.payload, "x-ms-sevsnpvm-migration-allowed") }, true, ""},
		{"TDX", token.KindMAA, func(s *service) { s.merge(t, maaTDX) }, false, attest.TCBUpToDate},
		{"TDX migratable", token.KindMAA, func(s *service) { s.merge(t, maaTDX); s.payload["tdx_td_attributes"] = "0000003000000000" }, true, attest.TCBUpToDate},
		{"TDX out of date", token.KindMAA, func(s *service) { s.merge(t, maaTDX); s.payload["attester_tcb_status"] = "OutOfDate" }, false, "OutOfDate"},
		{"TDX without status", token.KindMAA, func(s *service) { s.merge(t, maaTDX); delete(s.payload, "attester_tcb_status") }, false, attest.TCBUnknown},
		{"TDX with another word", token.KindMAA, func(s *service) { s.merge(t, maaTDX); s.payload["attester_tcb_status"] = "uptodate" }, false, attest.TCBUnknown},
		{"guest", token.KindMAA, func(s *service) { s.merge(t, azureVM) }, false, ""},
		{"guest migration", token.KindMAA, func(s *service) {
			s.merge(t, azureVM)
			s.at("x-ms-isolation-tee")["x-ms-sevsnpvm-migration-allowed"] = true
		}, true, ""},
		{"Google TDX", token.KindGCS, func(s *service) { s.at("tdx")["gcp_attester_tcb_status"] = "OutOfDate" }, false, "OutOfDate"},
		{"Google TDX in a list", token.KindGCS, func(s *service) { s.payload["tdx"] = []any{map[string]any{"gcp_attester_tcb_status": "OutOfDate"}} }, false, "OutOfDate"},
		{"Google TDX without status", token.KindGCS, func(s *service) { delete(s.payload, "tdx") }, false, attest.TCBUnknown},
		{"Google SEV", token.KindGCS, func(s *service) { s.payload["hwmodel"] = "GCP_AMD_SEV" }, false, ""},
		{"Intel SGX", token.KindITA, func(s *service) { s.merge(t, itaSGX) }, false, "SWHardeningNeeded"},
		{"Intel SNP", token.KindITA, func(s *service) { s.version2(t, itaSNP) }, false, ""},
		{"Trustee TDX", token.KindEAR, func(s *service) { s.annotated()["tdx"].(map[string]any)["tcb_status"] = "OutOfDate" }, false, "OutOfDate"},
		{"Trustee SNP migration", token.KindEAR, func(s *service) {
			s.annotated()["snp"] = map[string]any{"policy_migrate_ma": true}
			delete(s.annotated(), "tdx")
		}, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t, tt.kind)
			tt.change(s)
			ev := evidence(s.token(t))
			ev.RuntimeData = nil
			res, err := s.verifier(t).Verify(t.Context(), ev, attest.Expect{At: now, Unbound: true})
			if err != nil || res.Facts.Migratable != tt.migratable || res.Facts.TCBStatus != tt.tcb {
				t.Errorf("%+v, %v", res, err)
			}
		})
	}
}

// TestClaims: real shapes lead to the documented names, and nothing else is passed on.
func TestClaims(t *testing.T) {
	get := func(c attest.Claims, path ...string) any {
		var v any = map[string]any(c)
		for _, p := range path {
			m, ok := v.(map[string]any)
			if !ok {
				return nil
			}
			v = m[p]
		}
		return v
	}
	for _, tt := range []struct {
		name, kind string
		change     func(*service)
		want       map[string]any // by path with slashes
		absent     []string
	}{
		{"SNP", token.KindMAA, func(*service) {}, map[string]any{
			"x-ms-attestation-type": "sevsnpvm", "x-ms-compliance-status": "azure-compliant-uvm", "x-ms-sevsnpvm-launchmeasurement": hex96,
			"x-ms-sevsnpvm-microcode-svn": int64(115), "x-ms-sevsnpvm-smt-allowed": true, "token/jti": hex64, "token/exp": now.Unix() + 3600,
		}, []string{"x-ms-runtime", "x-ms-policy", "x-ms-inittime", "of-tomorrow", "nonce", "iss", "unverified"}},
		{"Azure guest", token.KindMAA, func(s *service) { s.merge(t, azureVM) }, map[string]any{
			"secureboot": true, "x-ms-azurevm-vmid": "6506B531-1634-431E-99D2-42B7D3414AD0", "x-ms-azurevm-attested-pcrs": []any{int64(0), int64(1), int64(2), int64(7)},
			"x-ms-isolation-tee/x-ms-sevsnpvm-launchmeasurement":           hex96,
			"x-ms-isolation-tee/x-ms-runtime/vm-configuration/secure-boot": true,
			"unverified/x-ms-azurevm-osdistro":                             "Ubuntu", "unverified/x-ms-azurevm-osversion-major": int64(22), "unverified/client-payload/nonce": "bm9uY2U=",
		}, []string{"x-ms-azurevm-osdistro", "x-ms-azurevm-ostype", "x-ms-azurevm-osbuild", "x-ms-azurevm-osversion-major", "x-ms-azurevm-osversion-minor", "x-ms-runtime", "client-payload", "x-ms-sevsnpvm-hostdata"}},
		{"Confidential Space", token.KindGCS, func(*service) {}, map[string]any{
			"secureboot": true, "x-ms-attestation-type": "tdxvm", "gcs/image_digest": "sha256:00", "gcs/hwmodel": "GCP_INTEL_TDX", "gcs/swname": "CONFIDENTIAL_SPACE",
			"gcs/env": []any{"A=b=c", "HOSTNAME=vm1"}, "gcs/args": []any{"/w", "run"}, "gcs/support_attributes": []any{"LATEST", "STABLE", "USABLE"},
			"gcs/project_id": "p", "gcs/instance_id": "8114146583384593350", "gcs/image_signature_keys": []any{"k1"}, "gcs/memory_monitoring": false, "gcs/tcb_status": "UpToDate",
		}, []string{"attester_tcb_status", "eat_nonce", "gcs/env_override", "gcs/cmd_override", "submods"}},
		{"Intel TDX", token.KindITA, func(*service) {}, map[string]any{
			"x-ms-attestation-type": "tdxvm", "tdx_mrtd": hex96, "tdx_seamsvn": int64(3), "attester_tcb_status": "UpToDate",
			"ita/attester_advisory_ids": []any{"INTEL-SA-00828"}, "ita/policy_ids_matched": []any{"p1"}, "ita/ver": "1.0.0",
		}, []string{"attester_held_data", "ita/policy_ids_unmatched", "verifier_nonce"}},
		{"Intel TDX, version 2", token.KindITA, func(s *service) { s.version2(t, itaV2) }, map[string]any{"tdx_mrtd": hex96, "ita/attester_type": "TDX"}, []string{"tdx", "nvgpu"}},
		{"Intel SNP", token.KindITA, func(s *service) { s.version2(t, itaSNP) }, map[string]any{
			"x-ms-attestation-type": "sevsnpvm", "x-ms-sevsnpvm-launchmeasurement": hex96, "x-ms-sevsnpvm-bootloader-svn": int64(3), "x-ms-sevsnpvm-familyId": hex32,
		}, []string{"sevsnp"}},
		{"Intel SGX", token.KindITA, func(s *service) { s.merge(t, itaSGX) }, map[string]any{
			"x-ms-attestation-type": "sgx", "x-ms-sgx-mrenclave": hex64, "x-ms-sgx-product-id": int64(7), "x-ms-sgx-svn": int64(9), "attester_tcb_status": "SWHardeningNeeded",
		}, nil},
		{"Trustee", token.KindEAR, func(*service) {}, map[string]any{
			"tdx_mrtd": hex96, "tdx_rtmr0": hex96, "attester_tcb_status": "UpToDate", "ear/developer": "https://confidentialcontainers.org",
		}, []string{"submods", "runtime_data_claims"}},
		{"Trustee SNP", token.KindEAR, func(s *service) {
			s.annotated()["snp"] = map[string]any{"measurement": hex96, "policy_debug_allowed": "0"}
			delete(s.annotated(), "tdx")
		}, map[string]any{"x-ms-sevsnpvm-launchmeasurement": hex96}, nil},
		{"Trustee SNP of old", token.KindEAR, func(s *service) {
			s.annotated()["snp"] = map[string]any{"measurement": base64.StdEncoding.EncodeToString(make([]byte, 48)), "policy_debug_allowed": 0}
			delete(s.annotated(), "tdx")
		}, nil, []string{"x-ms-sevsnpvm-launchmeasurement"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t, tt.kind)
			tt.change(s)
			ev := evidence(s.token(t))
			ev.RuntimeData = nil
			res, err := s.verifier(t).Verify(t.Context(), ev, attest.Expect{At: now, Unbound: true})
			if err != nil {
				t.Fatal(err)
			}
			attesttest.Claims(t, res.Claims, token.Schema())
			for path, want := range tt.want {
				if got := get(res.Claims, strings.Split(path, "/")...); !reflect.DeepEqual(got, want) {
					t.Errorf("%s is %v, want %v", path, got, want)
				}
			}
			for _, path := range tt.absent {
				if got := get(res.Claims, strings.Split(path, "/")...); got != nil {
					t.Errorf("%s is passed on: %v", path, got)
				}
			}
		})
	}
}

// TestVeraison: no iss, no exp, no kid, one submodule.
func TestVeraison(t *testing.T) {
	s := newService(t, token.KindEAR)
	s.iss = "Acme Inc."
	delete(s.payload, "exp")
	delete(s.payload, "nbf")
	s.merge(t, veraison)
	s.payload["eat_nonce"] = digest()
	res := accept(t, s.verifier(t), evidence(s.token(t)))
	attesttest.Claims(t, res.Claims, token.Schema())
	sub := res.Claims["ear"].(map[string]any)["submods"].([]any)[0].(map[string]any)
	if sub["name"] != "PSA_IOT" || sub["policy_id"] != "policy://psa/60a0068d" || sub["trustworthiness"].(map[string]any)["executables"] != int64(3) {
		t.Errorf("%v", sub)
	}
	if _, ok := res.Claims["token"].(map[string]any)["exp"]; ok {
		t.Error("an end that nobody said")
	}
	s.payload["iat"] = now.Unix() - 601
	refuse(t, "old", s.verifier(t), evidence(s.token(t)), attest.CheckTokenExpired)
}

// TestIdentity: by issuer and machine, and the same for the next token.
func TestIdentity(t *testing.T) {
	id := func(kind string, change func(*service)) string {
		s := newService(t, kind)
		change(s)
		ev := evidence(s.token(t))
		ev.RuntimeData = nil
		res, err := s.verifier(t).Verify(t.Context(), ev, attest.Expect{At: now, Unbound: true})
		if err != nil {
			t.Fatal(err)
		}
		return res.Identity.ID
	}
	same := func(*service) {}
	one := id(token.KindGCS, same)
	if one != id(token.KindGCS, func(s *service) { s.payload["jti"] = json.RawMessage(`"2"`) }) {
		t.Error("another identity for another token")
	}
	if one == id(token.KindGCS, func(s *service) { s.at("submods", "gce")["instance_id"] = "8" }) {
		t.Error("the same for another instance")
	}
	if one == id(token.KindITA, same) {
		t.Error("the same for another issuer")
	}
	if id(token.KindMAA, func(s *service) { s.merge(t, azureVM) }) == id(token.KindMAA, same) {
		t.Error("the VM id counts for nothing")
	}
}
