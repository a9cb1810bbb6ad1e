package token_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/token"
)

// publisher is an Endorser with one document.
type publisher struct {
	doc  *attest.Document
	err  error
	asks []attest.Need
}

func (p *publisher) Endorse(_ context.Context, need attest.Need) (*attest.Document, error) {
	p.asks = append(p.asks, need)
	return p.doc, p.err
}

func fetched(s *service, p *publisher) func(*token.Config) {
	return func(c *token.Config) { c.Issuers[0].JWKS, c.Endorser = nil, p }
}

func TestKeySetFromEndorser(t *testing.T) {
	s := newService(t, token.KindMAA)
	p := &publisher{doc: &attest.Document{Data: s.jwks(), Fetched: now.Add(-2 * time.Minute)}}
	v := s.verifier(t, fetched(s, p))
	ev := evidence(s.token(t))
	if res := accept(t, v, ev); res.Facts.CollateralAge != 2*time.Minute {
		t.Errorf("%+v", res.Facts)
	}
	if len(p.asks) != 1 || p.asks[0] != (attest.Need{Kind: attest.NeedJWKS, ID: s.iss}) {
		t.Errorf("asked for %v", p.asks)
	}
	p.doc.Fetched = now.Add(-token.KeySetLife - time.Second)
	refuse(t, "stale", v, ev, attest.CheckCollateralStale)
	p.doc.Fetched = now.Add(time.Second)
	if res := accept(t, v, ev); res.Facts.CollateralAge != 0 {
		t.Errorf("an age below nothing: %+v", res.Facts)
	}

	other := newService(t, token.KindMAA)
	other.key, other.kid = rsaKeys()[1], "new"
	p.doc = &attest.Document{Data: other.jwks(), Fetched: now}
	refuse(t, "JW-18 key withdrawn", v, ev, attest.CheckTokenIssuer)
	p.doc = &attest.Document{Data: []byte("{}"), Fetched: now}
	refuse(t, "no keys", v, ev, attest.CheckCollateralInvalid)
	p.doc = &attest.Document{Data: slices.Concat(s.jwks(), []byte(strings.Repeat(" ", 1<<20))), Fetched: now}
	refuse(t, "huge", v, ev, attest.CheckCollateralInvalid)
	p.doc = nil
	refuse(t, "nothing", v, ev, attest.CheckCollateralInvalid)
	p.err = errors.New("down")
	refuse(t, "JW-18 unreachable", v, ev, attest.CheckCollateralUnavailable)

	p.asks = nil
	s.payload["iss"] = "https://127.0.0.1"
	refuse(t, "a stranger's issuer", v, evidence(s.token(t)), attest.CheckTokenIssuer)
	if len(p.asks) != 0 {
		t.Errorf("a stranger made the broker ask for %v", p.asks)
	}
}

func TestInspect(t *testing.T) {
	s := newService(t, token.KindMAA)
	v := s.verifier(t)
	need := attest.Need{Kind: attest.NeedJWKS, ID: s.iss}
	got, err := v.Inspect(need, &attest.Document{Data: s.jwks(), Fetched: now}, now)
	if err != nil || !got.Issued.Equal(now) || !got.NextUpdate.Equal(now.Add(token.KeySetLife)) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, bad := range map[string]struct {
		need attest.Need
		doc  *attest.Document
	}{
		"another kind":       {attest.Need{Kind: attest.NeedAMDCRL, ID: s.iss}, &attest.Document{Data: s.jwks()}},
		"a stranger's":       {attest.Need{Kind: attest.NeedJWKS, ID: s.iss + "/"}, &attest.Document{Data: s.jwks()}},
		"not JSON":           {need, &attest.Document{Data: []byte("<html>")}},
		"JW-07 one id twice": {need, &attest.Document{Data: marshal(map[string]any{"keys": []any{s.jwk(), s.jwk()}})}},
		"nil":                {need, nil},
	} {
		_, err := v.Inspect(bad.need, bad.doc, now)
		var r *attest.Rejection
		if !errors.As(err, &r) || r.Check != attest.CheckCollateralInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCertificateOfKey: a set with certificates only, as Azure publishes it; the key is
// good while its certificate is.
func TestCertificateOfKey(t *testing.T) {
	s := newService(t, token.KindMAA)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: s.iss},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.key.Public(), s.key)
	if err != nil {
		t.Fatal(err)
	}
	j := map[string]any{"kid": s.kid, "kty": "RSA", "x5c": []string{base64.StdEncoding.EncodeToString(der)}}
	v := s.verifier(t, func(c *token.Config) { c.Issuers[0].JWKS = marshal(map[string]any{"keys": []any{j}}) })
	accept(t, v, evidence(s.token(t)))
	for _, at := range []time.Time{template.NotBefore.Add(-time.Second), template.NotAfter.Add(time.Second)} {
		s.payload["iat"], s.payload["nbf"], s.payload["exp"] = at.Unix(), at.Unix(), at.Unix()+300
		_, err := v.Verify(t.Context(), evidence(s.token(t)), attest.Expect{At: at})
		var r *attest.Rejection
		if !errors.As(err, &r) || r.Check != attest.CheckChainExpired {
			t.Errorf("at %v: %v", at, err)
		}
	}
}

func TestDenied(t *testing.T) {
	s := newService(t, token.KindGCS)
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	key := sha256.Sum256(der)
	res := accept(t, s.verifier(t), evidence(s.token(t)))
	for id, want := range map[string]attest.Check{
		hex.EncodeToString(key[:]): attest.CheckCertRevoked,
		"8114146583384593350":      attest.CheckPlatformDenied,
		res.Identity.ID:            attest.CheckPlatformDenied,
	} {
		v := s.verifier(t, func(c *token.Config) { c.Denied = func(got string) bool { return got == id } })
		if r := refuse(t, id, v, evidence(s.token(t)), want); r.Identity == nil || *r.Identity != res.Identity {
			t.Errorf("%s: identity %v", id, r.Identity)
		}
	}
}

func TestNew(t *testing.T) {
	s := newService(t, token.KindMAA)
	for name, change := range map[string]func(*token.Config){
		"no issuer":           func(c *token.Config) { c.Issuers = nil },
		"another type":        func(c *token.Config) { c.Type = attest.TypeTPM },
		"twice":               func(c *token.Config) { c.Issuers = append(c.Issuers, c.Issuers[0]) },
		"no kind":             func(c *token.Config) { c.Issuers[0].Kind = "" },
		"kind in capitals":    func(c *token.Config) { c.Issuers[0].Kind = "MAA" },
		"no name":             func(c *token.Config) { c.Issuers[0].Issuer = "" },
		"EAR without a name":  func(c *token.Config) { c.Issuers[0].Kind, c.Issuers[0].Issuer = token.KindEAR, "" },
		"plain HTTP":          func(c *token.Config) { c.Issuers[0].Issuer = "http://a.example" },
		"user":                func(c *token.Config) { c.Issuers[0].Issuer = "https://u@a.example" },
		"query":               func(c *token.Config) { c.Issuers[0].Issuer = "https://a.example?x" },
		"fragment":            func(c *token.Config) { c.Issuers[0].Issuer = "https://a.example#x" },
		"ours":                func(c *token.Config) { c.Own = []string{s.iss} },
		"ours with a slash":   func(c *token.Config) { c.Own = []string{strings.ToUpper(s.iss) + "/"} },
		"ours by scheme":      func(c *token.Config) { c.Issuers[0].Kind, c.Issuers[0].Issuer = token.KindEAR, "URN:openskr:d1" },
		"Google, no audience": func(c *token.Config) { c.Issuers[0].Kind = token.KindGCS },
		"no keys":             func(c *token.Config) { c.Issuers[0].JWKS = nil },
		"empty key file":      func(c *token.Config) { c.Issuers[0].JWKS = []byte{} },
		"symmetric key":       func(c *token.Config) { c.Issuers[0].JWKS = []byte(`{"keys":[{"kty":"oct","k":"AA"}]}`) },
		"age below nothing":   func(c *token.Config) { c.Issuers[0].MaxAge = -1 },
		"age of a week":       func(c *token.Config) { c.Issuers[0].MaxAge = 7 * 24 * time.Hour },
		"HS256":               func(c *token.Config) { c.Issuers[0].Algorithms = []string{"HS256"} },
		"none":                func(c *token.Config) { c.Issuers[0].Algorithms = []string{"RS256", "none"} },
	} {
		cfg := token.Config{Issuers: []token.Issuer{s.issuer()}}
		change(&cfg)
		if _, err := token.New(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestMaxAge(t *testing.T) {
	s := newService(t, token.KindMAA)
	s.payload["iat"] = now.Unix() - 3600
	v := s.verifier(t, func(c *token.Config) { c.Issuers[0].MaxAge = time.Hour })
	accept(t, v, evidence(s.token(t)))
	s.payload["iat"] = now.Unix() - 3601
	refuse(t, "older", v, evidence(s.token(t)), attest.CheckTokenExpired)
}

func TestAnchors(t *testing.T) {
	s := newService(t, token.KindMAA)
	hash := func(change ...func(*token.Config)) string {
		var all []byte
		for _, a := range s.verifier(t, change...).Anchors() {
			all = append(append(all, a...), 0xff)
		}
		return string(all)
	}
	base := hash()
	if base != hash() {
		t.Error("not the same twice")
	}
	for name, change := range map[string]func(*token.Config){
		"issuer":   func(c *token.Config) { c.Issuers[0].Issuer += "/x" },
		"audience": func(c *token.Config) { c.Issuers[0].Audience = "a" },
		"kind":     func(c *token.Config) { c.Issuers[0].Kind = token.KindITA },
		"keys":     fetched(s, &publisher{}),
		"one more": func(c *token.Config) {
			c.Issuers = append(c.Issuers, token.Issuer{Kind: token.KindEAR, Issuer: "x", JWKS: s.jwks()})
		},
	} {
		if hash(change) == base {
			t.Errorf("%s counts for nothing", name)
		}
	}
}

// TestIntroduce: what is read from a token is what its verifier would be given.
func TestIntroduce(t *testing.T) {
	for _, kind := range kinds() {
		s := newService(t, kind)
		ev := evidence(s.token(t))
		is, err := token.Introduce(ev.Body)
		if err != nil || is.Kind != kind || is.Issuer != s.iss || is.Audience != s.audience || is.JWKS != nil {
			t.Fatalf("%s: %+v, %v", kind, is, err)
		}
		is.JWKS = s.jwks()
		accept(t, s.verifier(t, func(c *token.Config) { c.Issuers[0] = *is }), ev)
	}
	if is, err := token.Introduce([]byte(`{"type":"token","token":"e30.e30.AA"}`)); err == nil {
		t.Errorf("%+v", is)
	}
}
