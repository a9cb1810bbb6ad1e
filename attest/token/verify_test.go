package token_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/attesttest"
	"github.com/openskr/openskr/attest/token"
)

func TestEveryKind(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			s := newService(t, kind)
			res := accept(t, s.verifier(t), evidence(s.token(t)))
			f := res.Facts
			if !f.Chain || !f.Signature || !f.Bound || !f.Recipient || f.Debug || f.Migratable || f.Resident ||
				f.Revocation != attest.Checked || f.Freshness != attest.Checked || f.CollateralAge != 0 {
				t.Errorf("%+v", f)
			}
			if wantTCB := map[bool]string{true: "", false: "UpToDate"}[kind == token.KindMAA]; f.TCBStatus != wantTCB {
				t.Errorf("TCB status %q", f.TCBStatus)
			}
			if res.Type != attest.TypeToken || res.Authority != s.iss || res.Identity.Kind != "token" || !strings.Contains(string(res.Recipient), `"kem":80`) {
				t.Errorf("%+v", res)
			}
			if about := res.Claims["token"].(map[string]any); about["issuer"] != s.iss || about["kind"] != kind || about["iat"] != now.Unix()-60 {
				t.Errorf("%v", about)
			}
			attesttest.Claims(t, res.Claims, token.Schema())
		})
	}
}

func TestWithoutDenyListRevocationIsOpen(t *testing.T) {
	s := newService(t, token.KindMAA)
	res := accept(t, s.verifier(t, func(c *token.Config) { c.Denied = nil }), evidence(s.token(t)))
	if res.Facts.Revocation != attest.NotChecked {
		t.Errorf("%+v", res.Facts)
	}
}

// TestSuite runs what every verifier must pass, for each kind of service and so for
// RSA, PSS and ECDSA signatures.
func TestSuite(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			s, other := newService(t, kind), newService(t, kind)
			if kind != token.KindEAR {
				other.key = rsaKeys()[1]
			}
			s.payload["iat"], s.payload["nbf"] = now.Unix(), now.Unix()
			s.payload["exp"] = now.Unix() + 300
			c := attesttest.Case{
				Verifier: s.verifier(t), Evidence: evidence(s.token(t)), Expect: attest.Expect{At: now},
				NotBefore: now.Add(-60e9), NotAfter: now.Add(359e9), Stride: 11,
				Strangers: map[string]attest.Verifier{
					"another key of the same name": other.verifier(t),
					"the same key of another name": s.verifier(t, func(c *token.Config) { c.Issuers[0].Issuer += "/" }),
				},
			}
			attesttest.Run(t, c)
		})
	}
}

// TestSimulated: a simulation's tokens have their own type, and neither passes as the other.
func TestSimulated(t *testing.T) {
	s := newService(t, token.KindMAA)
	sim := s.verifier(t, func(c *token.Config) { c.Type = attest.TypeToken.Simulated() })
	ev := evidence(s.token(t))
	refuse(t, "real as simulated", sim, ev, attest.CheckTypeNotAllowed)
	ev.Type = attest.TypeToken.Simulated()
	refuse(t, "body says real", sim, ev, attest.CheckTypeNotAllowed)
	ev.Body = []byte(strings.Replace(string(ev.Body), `"token"`, `"simulated-token"`, 1))
	if res := accept(t, sim, ev); res.Type != "simulated-token" || res.Identity.Kind != "simulated-token" {
		t.Errorf("%+v", res)
	}
	refuse(t, "simulated as real", s.verifier(t), ev, attest.CheckTypeNotAllowed)
}

// TestBinding: each rule holds by what the service vouches for, and by nothing else.
func TestBinding(t *testing.T) {
	nonce := digest()
	moved := map[string]any{}
	if err := json.Unmarshal([]byte(strings.Replace(runtimeData, `"d1"`, `"d2"`, 1)), &moved); err != nil {
		t.Fatal(err)
	}
	other := string(marshal(moved))
	for _, tt := range []struct {
		name, kind string
		change     func(*service)
		bound      bool
	}{
		{"members in another order", token.KindMAA, func(s *service) {
			s.payload["x-ms-runtime"] = json.RawMessage(`{"enc":"HPKE-80","key":"https:\/\/vault.example/keys/disk","purpose":"release","audience":"\u0064\u0031","nonce":"bm9uY2U","keys":[{"pub":"AAEC","kid":"r","kem":80,"kty":"HPKE"}]}`)
		}, true},
		{"another audience in it", token.KindMAA, func(s *service) { s.payload["x-ms-runtime"] = json.RawMessage(other) }, false},
		{"one member more", token.KindMAA, func(s *service) {
			s.payload["x-ms-runtime"] = json.RawMessage(strings.Replace(runtimeData, "{", `{"x":1,`, 1))
		}, false},
		{"a number of other digits", token.KindMAA, func(s *service) {
			s.payload["x-ms-runtime"] = json.RawMessage(strings.Replace(runtimeData, "80", "80.0", 1))
		}, false},
		{"none", token.KindMAA, func(s *service) { delete(s.payload, "x-ms-runtime") }, false},
		{"null", token.KindMAA, func(s *service) { s.payload["x-ms-runtime"] = nil }, false},
		{"as text", token.KindMAA, func(s *service) { s.payload["x-ms-runtime"] = runtimeData }, false},
		{"only a nonce, which the client chose", token.KindMAA, func(s *service) {
			delete(s.payload, "x-ms-runtime")
			s.payload["nonce"] = nonce
		}, false},
		{"initialisation data", token.KindMAA, func(s *service) {
			s.payload["x-ms-inittime"] = s.payload["x-ms-runtime"]
			delete(s.payload, "x-ms-runtime")
		}, false},
		{"TDX", token.KindMAA, func(s *service) { s.merge(t, maaTDX) }, true},
		{"Azure guest", token.KindMAA, func(s *service) { s.merge(t, azureVM) }, false},
		{"Azure guest with the runtime data beside its quote", token.KindMAA, func(s *service) {
			s.merge(t, azureVM)
			s.payload["x-ms-runtime"] = json.RawMessage(runtimeData)
		}, false},
		{"Azure guest with the hash as client payload", token.KindMAA, func(s *service) {
			s.merge(t, azureVM)
			s.at("x-ms-runtime", "client-payload")["nonce"] = base64.StdEncoding.EncodeToString([]byte(nonce))
		}, false},
		{"SGX", token.KindMAA, func(s *service) { s.merge(t, maaSGX) }, true},
		{"SGX, data held", token.KindMAA, func(s *service) {
			s.merge(t, maaSGX)
			delete(s.payload, "x-ms-runtime")
			s.payload["x-ms-sgx-ehd"] = b64.EncodeToString([]byte(runtimeData))
		}, true},
		{"SGX, other data held", token.KindMAA, func(s *service) {
			s.merge(t, maaSGX)
			s.payload["x-ms-sgx-ehd"] = b64.EncodeToString([]byte(other))
		}, false},
		{"SNP with data held", token.KindMAA, func(s *service) {
			delete(s.payload, "x-ms-runtime")
			s.payload["x-ms-sgx-ehd"] = b64.EncodeToString([]byte(runtimeData))
		}, false},

		{"one nonce as text", token.KindGCS, func(s *service) { s.payload["eat_nonce"] = nonce }, true},
		{"padded", token.KindGCS, func(s *service) { s.payload["eat_nonce"] = nonce + "=" }, false},
		{"longer", token.KindGCS, func(s *service) { s.payload["eat_nonce"] = nonce + "A" }, false},
		{"in other case", token.KindGCS, func(s *service) { s.payload["eat_nonce"] = strings.ToLower(nonce) }, false},
		{"empty list", token.KindGCS, func(s *service) { s.payload["eat_nonce"] = []string{} }, false},
		{"seven nonces", token.KindGCS, func(s *service) {
			s.payload["eat_nonce"] = []string{nonce, "2222222222", "3333333333", "4444444444", "5555555555", "6666666666", "7777777777"}
		}, false},
		{"nonce of another name", token.KindGCS, func(s *service) {
			delete(s.payload, "eat_nonce")
			s.payload["nonce"] = nonce
		}, false},
		{"runtime data by Azure's name", token.KindGCS, func(s *service) {
			delete(s.payload, "eat_nonce")
			s.payload["x-ms-runtime"] = json.RawMessage(runtimeData)
		}, false},

		{"runtime data as JSON", token.KindITA, func(s *service) {
			delete(s.payload, "attester_held_data")
			s.payload["attester_runtime_data"] = json.RawMessage(runtimeData)
		}, true},
		{"other held data", token.KindITA, func(s *service) {
			s.payload["attester_held_data"] = base64.StdEncoding.EncodeToString([]byte(other))
		}, false},
		{"held data in another alphabet", token.KindITA, func(s *service) {
			s.payload["attester_held_data"] = b64.EncodeToString([]byte(runtimeData + " "))
		}, false},
		{"neither", token.KindITA, func(s *service) { delete(s.payload, "attester_held_data") }, false},
		{"version 2", token.KindITA, func(s *service) {
			s.version2(t, itaV2)
			s.at("tdx")["attester_held_data"] = base64.StdEncoding.EncodeToString([]byte(runtimeData))
		}, true},
		{"version 2, held by the token and not by its TD", token.KindITA, func(s *service) {
			s.version2(t, itaV2)
			s.payload["attester_held_data"] = base64.StdEncoding.EncodeToString([]byte(runtimeData))
		}, false},
		{"version 2, held by the GPU", token.KindITA, func(s *service) {
			s.version2(t, itaV2)
			s.at("nvgpu")["attester_held_data"] = base64.StdEncoding.EncodeToString([]byte(runtimeData))
		}, false},

		{"runtime data changed", token.KindEAR, func(s *service) { s.annotated()["runtime_data_claims"] = json.RawMessage(other) }, false},
		{"runtime data of the GPU", token.KindEAR, func(s *service) {
			delete(s.annotated(), "runtime_data_claims")
			s.at("submods", "gpu0")["ear.veraison.annotated-evidence"] = map[string]any{"runtime_data_claims": json.RawMessage(runtimeData)}
		}, false},
		{"a GPU alone", token.KindEAR, func(s *service) {
			s.at("submods")["gpu0"] = s.at("submods")["cpu0"]
			delete(s.at("submods"), "cpu0")
		}, false},
		{"Trustee's older name", token.KindEAR, func(s *service) {
			s.at("submods")["cpu"] = s.at("submods")["cpu0"]
			delete(s.at("submods"), "cpu0")
		}, true},
		{"initialisation data", token.KindEAR, func(s *service) {
			s.annotated()["init_data_claims"] = s.annotated()["runtime_data_claims"]
			delete(s.annotated(), "runtime_data_claims")
		}, false},
		{"policy claims", token.KindEAR, func(s *service) {
			s.at("submods", "cpu0")["ear.veraison.policy-claims"] = map[string]any{"runtime_data_claims": s.annotated()["runtime_data_claims"]}
			delete(s.annotated(), "runtime_data_claims")
		}, false},
		{"nonce", token.KindEAR, func(s *service) {
			delete(s.annotated(), "runtime_data_claims")
			s.payload["eat_nonce"] = nonce
		}, true},
		{"another nonce", token.KindEAR, func(s *service) {
			delete(s.annotated(), "runtime_data_claims")
			s.payload["eat_nonce"] = nonce[1:]
		}, false},
	} {
		t.Run(tt.kind+" "+tt.name, func(t *testing.T) {
			s := newService(t, tt.kind)
			tt.change(s)
			ev := evidence(s.token(t))
			if !tt.bound {
				refuse(t, tt.name, s.verifier(t), ev, attest.CheckReportData)
			} else if res := accept(t, s.verifier(t), ev); !res.Facts.Bound || !res.Facts.Recipient {
				t.Errorf("%+v", res.Facts)
			}
		})
	}
}

// version2 makes the payload one of a token of version 2.
func (s *service) version2(t testing.TB, text string) {
	for name := range s.payload {
		if strings.HasPrefix(name, "tdx_") || strings.HasPrefix(name, "attester_") || name == "dbgstat" {
			delete(s.payload, name)
		}
	}
	s.merge(t, text)
}

func (s *service) annotated() map[string]any {
	return s.at("submods", "cpu0", "ear.veraison.annotated-evidence")
}

// TestVMPL: a less privileged level of an SNP machine gets no keys, and may be looked at.
func TestVMPL(t *testing.T) {
	for _, level := range []any{1, nil} {
		s := newService(t, token.KindMAA)
		s.payload["x-ms-sevsnpvm-vmpl"] = level
		ev := evidence(s.token(t))
		if r := refuse(t, "VMPL", s.verifier(t), ev, attest.CheckVMPL); r.Identity == nil {
			t.Error("the proven machine has no identity")
		}
		ev.RuntimeData = nil
		if _, err := s.verifier(t).Verify(t.Context(), ev, attest.Expect{At: now, Unbound: true}); err != nil {
			t.Error(err)
		}
	}
}

// TestRuntimeData: a document that is covered and still no good.
func TestRuntimeData(t *testing.T) {
	s := newService(t, token.KindITA)
	for doc, want := range map[string]attest.Check{
		`{}`: attest.CheckNoRecipient,
		strings.Replace(runtimeData, "[{", "[{},{", 1): attest.CheckAmbiguous,
		"not JSON": attest.CheckRuntimeData,
	} {
		s.payload["attester_held_data"] = base64.StdEncoding.EncodeToString([]byte(doc))
		ev := evidence(s.token(t))
		ev.RuntimeData = []byte(doc)
		if r := refuse(t, doc, s.verifier(t), ev, want); r.Identity == nil {
			t.Errorf("%s: the proven machine has no identity", doc)
		}
	}
}

// TestOffline: SignedData is a nonce's text, Unbound leaves freshness open.
func TestOffline(t *testing.T) {
	for kind, nonce := range map[string]string{
		token.KindMAA: "4711", token.KindGCS: "another-nonce", token.KindITA: "bm9uY2U=", token.KindEAR: "of-the-session",
	} {
		s := newService(t, kind)
		s.payload["eat_nonce"] = []string{"another-nonce", "of-the-session"}
		ev := evidence(s.token(t))
		ev.RuntimeData = nil
		want := attest.Expect{At: now, SignedData: []byte(nonce)}
		res, err := s.verifier(t).Verify(t.Context(), ev, want)
		if err != nil || res.Facts.Freshness != attest.Checked || res.Facts.Bound || res.Recipient != nil {
			t.Errorf("%s: %+v, %v", kind, res, err)
		}
		want.SignedData = []byte(nonce + " ")
		if _, err := s.verifier(t).Verify(t.Context(), ev, want); err == nil {
			t.Errorf("%s: another nonce taken", kind)
		}
		res, err = s.verifier(t).Verify(t.Context(), ev, attest.Expect{At: now, Unbound: true})
		if err != nil || res.Facts.Freshness != attest.NotChecked || res.Facts.Bound {
			t.Errorf("%s: %+v, %v", kind, res, err)
		}
	}
	s := newService(t, token.KindMAA) // clients of Azure send a number that no float64 holds
	s.payload["nonce"] = json.RawMessage("18446744073709551615")
	ev := evidence(s.token(t))
	if _, err := s.verifier(t).Verify(t.Context(), ev, attest.Expect{At: now, SignedData: []byte("18446744073709551615")}); err != nil {
		t.Error(err)
	}
	if _, err := s.verifier(t).Verify(t.Context(), ev, attest.Expect{At: now, SignedData: []byte("18446744073709551616")}); err == nil {
		t.Error("a number that is equal as a float64 taken")
	}
}

func ExampleNew() {
	_, err := token.New(token.Config{Issuers: []token.Issuer{{Kind: token.KindGCS, Issuer: "https://confidentialcomputing.googleapis.com"}}})
	fmt.Println(err)
	// Output: token issuer "https://confidentialcomputing.googleapis.com": tokens of Google Cloud Attestation are made for an audience: give the one to ask for
}
