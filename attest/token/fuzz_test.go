package token_test

import (
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/attesttest"
	"github.com/openskr/openskr/attest/token"
)

// FuzzEvidence sends bodies: only the sound one passes.
func FuzzEvidence(f *testing.F) {
	s := newService(f, token.KindEAR)
	v, good := s.verifier(f), evidence(s.token(f))
	f.Add(good.Body)
	f.Add(evidence("e30.e30.").Body)
	f.Add([]byte(`{"type":"token","token":""}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		ev := good
		ev.Body = body
		res, err := v.Verify(t.Context(), ev, attest.Expect{At: now})
		if (res == nil) != (err != nil) {
			t.Fatal("not either a Result or an error")
		}
		if err == nil && (!res.Facts.Chain || !res.Facts.Signature || !res.Facts.Bound) {
			t.Fatalf("accepted with %+v", res.Facts)
		}
	})
}

// FuzzClaims signs whatever payload: what comes out has the documented types, and what
// is accepted as bound says so.
func FuzzClaims(f *testing.F) {
	s := newService(f, token.KindEAR) // the fastest signature, for every kind
	verifiers := map[string]*token.Verifier{}
	for _, kind := range kinds() {
		verifiers[kind] = s.verifier(f, func(c *token.Config) {
			c.Issuers[0] = token.Issuer{Kind: kind, Issuer: "https://a.example", Audience: "a", JWKS: s.jwks(), Algorithms: []string{"ES256"}}
		})
		as := newService(f, kind)
		as.payload["iss"], as.payload["aud"] = "https://a.example", "a"
		f.Add(marshal(as.payload))
	}
	for _, text := range []string{maaTDX, maaSGX, azureVM, itaV2, itaSNP, itaSGX, veraison} {
		as := newService(f, token.KindEAR)
		delete(as.payload, "submods")
		as.payload["iss"], as.payload["aud"] = "https://a.example", "a"
		as.merge(f, text)
		f.Add(marshal(as.payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		ev := evidence(s.sign(t, s.with(map[string]any{"kid": s.kid}), string(payload)))
		ev.RuntimeData = nil
		for _, v := range verifiers {
			res, err := v.Verify(t.Context(), ev, attest.Expect{At: now, Unbound: true})
			if err != nil {
				continue
			}
			attesttest.Claims(t, res.Claims, token.Schema())
			if res.Facts.Bound || res.Recipient != nil || res.Facts.Freshness != attest.NotChecked {
				t.Fatalf("%+v", res.Facts)
			}
		}
	})
}
