package token_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/attesttest"
	"github.com/openskr/openskr/attest/token"
)

const ownIssuer = "https://broker.example:8443"

// runtimeKeys is x-ms-runtime with the keys of a virtual machine before the one of the caller.
const runtimeKeys = `{"keys":[
 {"kty":"RSA","kid":"HCLAkPub","key_ops":["encrypt"],"n":"aGNs","e":"AQAB"},
 {"kty":"EC","kid":"ec","use":"enc"},
 {"kty":"RSA","kid":"signs","use":"sig","n":"c2ln","e":"AQAB"},
 {"kty":"RSA","kid":"target","key_ops":"encrypt","n":"dGFyZ2V0==","e":"AQAB"},
 {"kty":"RSA","kid":"later","use":"enc","n":"bGF0ZXI","e":"AQAB"}]}`

// ours is a token of the deployment's own service.
func ours(t testing.TB) *service {
	s := newService(t, token.KindMAA)
	s.iss = ownIssuer
	s.payload["iss"], s.payload["jti"], s.payload["exp"] = ownIssuer, strings.Repeat("0a", 32), now.Unix()+240
	s.payload["x-ms-runtime"] = json.RawMessage(runtimeKeys)
	s.payload["x-openskr"] = map[string]any{
		"deployment": "d1", "simulation": false, "evidence": "snp", "authority": "ARK-Milan", "machine": "snp-01", "freshness": "none",
		"revocation": "checked", "migratable": false,
	}
	return s
}

func (s *service) asserter(t testing.TB, foreign *token.Verifier, change ...func(*token.Own)) *token.Asserter {
	t.Helper()
	own := token.Own{Deployment: "d1", Issuers: []string{ownIssuer}, JWKS: s.jwks()}
	for _, f := range change {
		f(&own)
	}
	a, err := token.NewAsserter(own, foreign, func(id string) bool { return id == "snp-denied" })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAssertOwn(t *testing.T) {
	s := ours(t)
	out, err := s.asserter(t, nil).Assert(t.Context(), s.token(t), now)
	if err != nil {
		t.Fatal(err)
	}
	res := out.Result
	if string(res.Recipient) != `{"e":"AQAB","kty":"RSA","n":"dGFyZ2V0"}` || out.KID != "target" {
		t.Errorf("recipient %s %s", out.KID, res.Recipient)
	}
	want := attest.Facts{Chain: true, Signature: true, Recipient: true, Revocation: attest.Checked}
	if res.Facts != want || res.Identity.ID != "snp-01" || res.Type != attest.TypeToken || res.Authority != ownIssuer || out.Freshness != "none" {
		t.Errorf("%+v", out)
	}
	if res.Claims["x-ms-sevsnpvm-launchmeasurement"] != hex96 {
		t.Errorf("%v", res.Claims)
	}
	attesttest.Claims(t, res.Claims, token.Schema())

	again, err := s.asserter(t, nil).Assert(t.Context(), s.token(t), now)
	if err != nil || again.Token != out.Token {
		t.Errorf("the same token by another name: %v", err)
	}
	s.payload["jti"] = strings.Repeat("0b", 32)
	if other, err := s.asserter(t, nil).Assert(t.Context(), s.token(t), now); err != nil || other.Token == out.Token {
		t.Errorf("another token by the same name: %v", err)
	}
}

// TestAssertOwnRefused: what our own service said, and what it left out.
// KB-23: a key below x-ms-isolation-tee is nobody's recipient.
func TestAssertOwnRefused(t *testing.T) {
	own := func(name string, v any) func(*service) {
		return func(s *service) { s.at("x-openskr")[name] = v }
	}
	for _, v := range []struct {
		name   string
		change func(*service)
		check  attest.Check // "": passes, with the fact below
		fact   func(attest.Facts) bool
	}{
		{"another deployment", own("deployment", "d2"), attest.CheckTokenIssuer, nil},
		{"a simulation", own("simulation", true), attest.CheckTokenIssuer, nil},
		{"simulated evidence", own("evidence", "simulated-snp"), attest.CheckTypeNotAllowed, nil},
		{"no evidence", own("evidence", ""), attest.CheckTypeNotAllowed, nil},
		{"no machine", own("machine", ""), attest.CheckTypeNotAllowed, nil},
		{"a denied machine", own("machine", "snp-denied"), attest.CheckPlatformDenied, nil},
		{"no freshness", own("freshness", ""), attest.CheckMalformed, nil},
		{"nothing of ours", func(s *service) { delete(s.payload, "x-openskr") }, attest.CheckTokenIssuer, nil},
		{"six minutes old", func(s *service) {
			s.payload["iat"], s.payload["nbf"] = now.Unix()-301, now.Unix()-301
		}, attest.CheckTokenExpired, nil},
		{"debug", func(s *service) { s.payload["x-ms-sevsnpvm-is-debuggable"] = true }, attest.CheckDebug, nil},
		{"another privilege level", func(s *service) { s.payload["x-ms-sevsnpvm-vmpl"] = 1 }, attest.CheckVMPL, nil},
		{"no keys", func(s *service) { s.payload["x-ms-runtime"] = json.RawMessage(`{"keys":[]}`) }, attest.CheckNoRecipient, nil},
		{"keys of the machine alone", func(s *service) {
			s.payload["x-ms-runtime"] = json.RawMessage(`{"keys":[{"kty":"RSA","kid":"HCLAkPub","key_ops":["encrypt"],"n":"aGNs","e":"AQAB"}]}`)
		}, attest.CheckNoRecipient, nil},
		{"keys below the hardware's claims", func(s *service) {
			delete(s.payload, "x-ms-runtime")
			s.payload["x-ms-isolation-tee"] = map[string]any{"x-ms-runtime": json.RawMessage(runtimeKeys)}
		}, attest.CheckNoRecipient, nil},
		{"revocation not checked", own("revocation", "not_checked"), "", func(f attest.Facts) bool { return f.Revocation != attest.Checked }},
		{"migratable", own("migratable", true), "", func(f attest.Facts) bool { return f.Migratable }},
		{"silent on migration", func(s *service) { delete(s.at("x-openskr"), "migratable") }, "", func(f attest.Facts) bool { return f.Migratable }},
	} {
		t.Run(v.name, func(t *testing.T) {
			s := ours(t)
			v.change(s)
			out, err := s.asserter(t, nil).Assert(t.Context(), s.token(t), now)
			r, _ := err.(*attest.Rejection) // the contract: every error is one
			switch {
			case v.check != "" && (r == nil || r.Check != v.check):
				t.Errorf("%v, want %s", err, v.check)
			case v.check == "" && (err != nil || !v.fact(out.Result.Facts)):
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
}

// TestAssertForeign: a configured issuer vouches for keys too; one that nobody
// configured, one whose keys are not ours to believe, and one of another kind do not.
func TestAssertForeign(t *testing.T) {
	mine, s := ours(t), newService(t, token.KindMAA)
	s.payload["x-ms-runtime"] = json.RawMessage(runtimeKeys)
	s.payload["x-openskr"] = mine.payload["x-openskr"] // another's mouth names no machine of ours
	s.at("x-openskr")["deployment"] = "d2"
	s.key = rsaKeys()[1]
	out, err := mine.asserter(t, s.verifier(t)).Assert(t.Context(), s.token(t), now)
	if err != nil || out.Result.Identity.ID == "snp-01" || out.KID != "target" {
		t.Fatalf("%+v, %v", out, err)
	}
	check := func(name string, a *token.Asserter, text string, want attest.Check) {
		t.Helper()
		if _, err := a.Assert(t.Context(), text, now); err == nil || err.(*attest.Rejection).Check != want { // the contract
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	check("not configured", mine.asserter(t, nil), s.token(t), attest.CheckTokenIssuer)
	s.payload["iss"] = ownIssuer
	check("another's key under our name", mine.asserter(t, s.verifier(t)), s.token(t), attest.CheckSignature)
	gcs := newService(t, token.KindGCS)
	check("a kind without keys", mine.asserter(t, gcs.verifier(t)), gcs.token(t), attest.CheckTypeNotAllowed)
	check("not a token", mine.asserter(t, nil), "a.b", attest.CheckMalformed)
}

// TestAssertSimulation: a token of a simulation is one everywhere.
func TestAssertSimulation(t *testing.T) {
	s := ours(t)
	s.at("x-openskr")["simulation"], s.at("x-openskr")["evidence"] = true, "simulated-snp"
	out, err := s.asserter(t, nil, func(o *token.Own) { o.Simulation = true }).Assert(t.Context(), s.token(t), now)
	if err != nil || out.Result.Type != attest.TypeToken.Simulated() {
		t.Errorf("%+v, %v", out, err)
	}
}

// FuzzAssert signs whatever payload as our own service would: what passes has a
// recipient, and none of the facts that a token cannot prove.
func FuzzAssert(f *testing.F) {
	s := ours(f)
	a := s.asserter(f, nil)
	f.Add(marshal(s.payload))
	s.merge(f, azureVM)
	f.Add(marshal(s.payload))
	f.Fuzz(func(t *testing.T, payload []byte) {
		out, err := a.Assert(t.Context(), s.sign(t, string(marshal(s.header())), string(payload)), now)
		if err != nil {
			return
		}
		if out.Result.Recipient == nil || out.Result.Facts.Bound || out.Result.Identity.ID == "" {
			t.Fatalf("%+v", out.Result)
		}
		attesttest.Claims(t, out.Result.Claims, token.Schema())
	})
}

// TestAssertKeys: which keys of a token are wrapped to (KB-08). A key whose private part
// stands beside it belongs to whoever reads the token, and one that signs decrypts what
// its other use signs.
func TestAssertKeys(t *testing.T) {
	const good = `{"kty":"RSA","kid":"good","use":"enc","n":"Z29vZA","e":"AQAB"}`
	for name, v := range map[string]struct {
		key string
		kid string // of the key that is taken, "" when the token is refused
	}{
		"private part":      {`{"kty":"RSA","kid":"x","key_ops":["encrypt"],"n":"eA","e":"AQAB","d":"eA"}`, ""},
		"a prime":           {`{"kty":"RSA","kid":"x","use":"enc","n":"eA","e":"AQAB","p":"eA"}`, ""},
		"symmetric member":  {`{"kty":"RSA","kid":"x","use":"enc","n":"eA","e":"AQAB","k":"eA"}`, ""},
		"signs too":         {`{"kty":"RSA","kid":"x","key_ops":["encrypt","sign"],"n":"eA","e":"AQAB"}`, "good"},
		"verifies too":      {`{"kty":"RSA","kid":"x","key_ops":["verify","encrypt"],"n":"eA","e":"AQAB"}`, "good"},
		"enc, but signs":    {`{"kty":"RSA","kid":"x","use":"enc","key_ops":["sign"],"n":"eA","e":"AQAB"}`, "good"},
		"decrypts too":      {`{"kty":"RSA","kid":"x","key_ops":["encrypt","decrypt","wrapKey"],"n":"eA","e":"AQAB"}`, "x"},
		"two members of it": {`{"kty":"RSA","kid":"x","use":"enc","n":"eA","n":"eQ","e":"AQAB"}`, ""},
		"key_ops no text":   {`{"kty":"RSA","kid":"x","key_ops":[1],"n":"eA","e":"AQAB"}`, ""},
		"null":              {`null`, "good"},
	} {
		s := ours(t)
		delete(s.payload, "x-ms-runtime") // the runtime claims as they are written here
		payload := string(marshal(s.payload))
		payload = payload[:len(payload)-1] + `,"x-ms-runtime":{"keys":[` + v.key + `,` + good + `]}}`
		out, err := s.asserter(t, nil).Assert(t.Context(), s.sign(t, string(marshal(s.header())), payload), now)
		if v.kid == "" && err == nil || v.kid != "" && (err != nil || out.KID != v.kid) {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
	}
}

// TestAssertForeignOpenSKR: an issuer that is another OpenSKR says in x-openskr what
// Azure has no claim for; what it says against its machine counts, and it is not us.
func TestAssertForeignOpenSKR(t *testing.T) {
	for name, v := range map[string]struct {
		member string
		value  any
		check  attest.Check // "": passes, with the fact below
		fact   func(*attest.Assertion) bool
	}{
		"as it should be": {"deployment", "d2", "", func(a *attest.Assertion) bool { return a.Result.Facts.Revocation == attest.Checked }},
		"a simulation":    {"simulation", true, attest.CheckTypeNotAllowed, nil},
		"simulated":       {"evidence", "simulated-snp", attest.CheckTypeNotAllowed, nil},
		"ourselves":       {"deployment", "d1", attest.CheckTokenIssuer, nil},
		"migratable":      {"migratable", true, "", func(a *attest.Assertion) bool { return a.Result.Facts.Migratable }},
		"not revoked?":    {"revocation", "not_checked", "", func(a *attest.Assertion) bool { return a.Result.Facts.Revocation != attest.Checked }},
		"no text":         {"evidence", 1, attest.CheckMalformed, nil},
	} {
		mine, s := ours(t), newService(t, token.KindMAA)
		s.payload["x-ms-runtime"], s.payload["x-openskr"] = json.RawMessage(runtimeKeys), mine.payload["x-openskr"]
		s.at("x-openskr")["deployment"] = "d2"
		s.at("x-openskr")[v.member] = v.value
		s.key = rsaKeys()[1]
		out, err := mine.asserter(t, s.verifier(t)).Assert(t.Context(), s.token(t), now)
		r, _ := err.(*attest.Rejection) // the contract: every error is one
		switch {
		case v.check != "" && (r == nil || r.Check != v.check):
			t.Errorf("%s: %v, want %s", name, err, v.check)
		case v.check == "" && (err != nil || !v.fact(out)):
			t.Errorf("%s: %+v, %v", name, out, err)
		}
	}
}

// TestAssertResetCount: what the guest's TPM said of its resets goes with the token, so
// that a machine which was put back is noticed on this door too (FR-18).
func TestAssertResetCount(t *testing.T) {
	s := ours(t)
	s.at("x-openskr")["reset_count"] = 7
	out, err := s.asserter(t, nil).Assert(t.Context(), s.token(t), now)
	if err != nil || out.Result.Facts.ResetCount != 7 {
		t.Errorf("%+v, %v", out, err)
	}
	for _, bad := range []any{-1, 1 << 32, "7", 1.5} {
		s.at("x-openskr")["reset_count"] = bad
		if _, err := s.asserter(t, nil).Assert(t.Context(), s.token(t), now); err == nil || err.(*attest.Rejection).Check != attest.CheckMalformed {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// TestAssertMigration: what the token does not say against migration is no proof of it.
// A guest without an isolation report is an ordinary machine, which its cloud moves.
func TestAssertMigration(t *testing.T) {
	for name, v := range map[string]struct {
		change     func(*service)
		migratable bool
	}{
		"SNP":                      {func(*service) {}, false},
		"guest":                    {func(s *service) { s.merge(t, azureVM) }, false},
		"guest without isolation":  {func(s *service) { s.merge(t, azureVM); delete(s.payload, "x-ms-isolation-tee") }, true},
		"guest, isolation is null": {func(s *service) { s.merge(t, azureVM); s.payload["x-ms-isolation-tee"] = nil }, true},
		"TDX":                      {func(s *service) { s.merge(t, maaTDX) }, false},
		"TDX without attributes":   {func(s *service) { s.merge(t, maaTDX); delete(s.payload, "tdx_td_attributes") }, true},
	} {
		s := newService(t, token.KindMAA)
		v.change(s)
		s.payload["x-ms-runtime"] = json.RawMessage(runtimeKeys)
		out, err := ours(t).asserter(t, s.verifier(t)).Assert(t.Context(), s.token(t), now)
		if err != nil || out.Result.Facts.Migratable != v.migratable {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
	}
}

// TestAssertDenials: a token tells no chip, so that one that was made before the deny list
// changed may be of a chip that is on it now.
func TestAssertDenials(t *testing.T) {
	s := ours(t)
	under := func(list string) *token.Asserter {
		return s.asserter(t, nil, func(o *token.Own) { o.Denials = func() string { return list } })
	}
	if _, err := under("l1").Assert(t.Context(), s.token(t), now); err == nil {
		t.Error("a token under no list")
	}
	s.at("x-openskr")["denials"] = "l1"
	if _, err := under("l1").Assert(t.Context(), s.token(t), now); err != nil {
		t.Error(err)
	}
	if _, err := under("l2").Assert(t.Context(), s.token(t), now); err == nil || err.(*attest.Rejection).Check != attest.CheckTokenExpired {
		t.Errorf("under another list: %v", err)
	}
}
