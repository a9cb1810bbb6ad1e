package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // a name
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

const testAuthority = "https://kv1.vault.local:8443"

// certified makes a certificate of key that is good around the fixture's time.
func certified(t testing.TB, key crypto.Signer, change ...func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Unix(1_700_000_000, 0), NotAfter: time.Unix(1_900_000_000, 0),
	}
	for _, f := range change {
		f(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// assert makes a client assertion: header members and claims replaced by over.
func assert(t testing.TB, key crypto.Signer, alg string, header, claims map[string]any) string {
	t.Helper()
	header["alg"] = alg
	var parts [2]string
	for i, v := range []any{header, claims} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		parts[i] = string(b)
	}
	return signed(t, key, alg, parts[0], parts[1])
}

// signed makes a JWS of header and claims, each JSON text, whatever they say.
func signed(t testing.TB, key crypto.Signer, alg, header, claims string) string {
	t.Helper()
	input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(claims))
	sum := sha256.Sum256([]byte(input))
	var sig []byte
	var err error
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if alg[0] == 'P' {
			sig, err = rsa.SignPSS(rand.Reader, k, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			sig, err = rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
		}
	case *ecdsa.PrivateKey:
		r, s, e := ecdsa.Sign(rand.Reader, k, sum[:])
		sig, err = make([]byte, 64), e
		r.FillBytes(sig[:32])
		s.FillBytes(sig[32:])
	}
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64.EncodeToString(sig)
}

func (f *fixture) assertionClaims(over map[string]any) map[string]any {
	now := f.now.Unix()
	c := map[string]any{
		"aud": TokenEndpoints(testAuthority, "d1")[0], "iss": f.p.ID, "sub": f.p.ID, "jti": newUUID(), "nbf": now, "exp": now + 600,
	}
	for k, v := range over {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return c
}

func (f *fixture) by(assertion string) *TokenRequest {
	return &TokenRequest{GrantType: "client_credentials", ClientID: f.p.ID, Assertion: assertion, Authority: testAuthority}
}

// certificates gives the principal certificates of an RSA and an EC key.
func (f *fixture) certificates(t *testing.T) (r *rsa.PrivateKey, rc *x509.Certificate, e *ecdsa.PrivateKey, ec *x509.Certificate) {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	rc, ec = certified(t, r), certified(t, e)
	f.p.Certificates = []Certificate{{DER: rc.Raw}, {SAN: "uri:spiffe://x/y"}, {DER: ec.Raw}}
	f.objects.put(t, f.p)
	return r, rc, e, ec
}

func short(c *x509.Certificate) map[string]any {
	sum := sha1.Sum(c.Raw) //nolint:gosec // a name
	return map[string]any{"typ": "JWT", "x5t": base64.StdEncoding.EncodeToString(sum[:])}
}

func long(c *x509.Certificate) map[string]any {
	sum := sha256.Sum256(c.Raw)
	return map[string]any{"typ": "JWT", "x5t#S256": base64.URLEncoding.EncodeToString(sum[:])}
}

// The assertions of MSAL for Go, JavaScript and Python, and what they may differ in.
func TestCertificateAssertion(t *testing.T) {
	f := newFixture(t)
	r, rc, e, ec := f.certificates(t)
	now := f.now.Unix()
	for name, a := range map[string]string{
		"MSAL Go":            assert(t, r, "PS256", long(rc), f.assertionClaims(nil)),
		"MSAL Go at AD FS":   assert(t, r, "RS256", short(rc), f.assertionClaims(map[string]any{"aud": testAuthority + "/adfs/oauth2/token"})),
		"MSAL for Python":    assert(t, r, "PS256", long(rc), f.assertionClaims(map[string]any{"nbf": nil, "iat": float64(now) + .125, "exp": float64(now) + 600.125})),
		"EC":                 assert(t, e, "ES256", long(ec), f.assertionClaims(nil)),
		"both thumbprints":   assert(t, r, "RS256", map[string]any{"x5t": short(rc)["x5t"], "x5t#S256": long(rc)["x5t#S256"], "x5c": []string{"AA=="}}, f.assertionClaims(nil)),
		"audience in a list": assert(t, r, "RS256", short(rc), f.assertionClaims(map[string]any{"aud": []string{testAuthority + "/d1/oauth2/token"}})),
	} {
		tok, err := f.Token(t.Context(), f.by(a))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c, err := f.Authenticate(t.Context(), tok.Access); err != nil || c.ID != f.p.ID {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestAssertionRefusals(t *testing.T) {
	f := newFixture(t)
	r, rc, e, ec := f.certificates(t)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	now := f.now.Unix()
	past := certified(t, e, func(c *x509.Certificate) { c.NotAfter = f.now.Add(-time.Second) })
	f.p.Certificates = append(f.p.Certificates, Certificate{DER: past.Raw})
	f.objects.put(t, f.p)
	with := func(over map[string]any) string { return assert(t, r, "RS256", short(rc), f.assertionClaims(over)) }
	for name, a := range map[string]string{
		"another key":             assert(t, other, "RS256", short(rc), f.assertionClaims(nil)),
		"another's certificate":   assert(t, other, "RS256", short(certified(t, other)), f.assertionClaims(nil)),
		"key of the other":        assert(t, e, "ES256", short(rc), f.assertionClaims(nil)),
		"thumbprints at odds":     assert(t, r, "RS256", map[string]any{"x5t": short(rc)["x5t"], "x5t#S256": long(ec)["x5t#S256"]}, f.assertionClaims(nil)),
		"no thumbprint":           assert(t, r, "RS256", map[string]any{"typ": "JWT"}, f.assertionClaims(nil)),
		"certificate ended":       assert(t, e, "ES256", long(past), f.assertionClaims(nil)),
		"an access token's typ":   assert(t, r, "RS256", map[string]any{"typ": jose.TypeAccessToken, "x5t": short(rc)["x5t"]}, f.assertionClaims(nil)),
		"crit":                    assert(t, r, "RS256", map[string]any{"x5t": short(rc)["x5t"], "crit": []string{"exp"}}, f.assertionClaims(nil)),
		"PS384":                   assert(t, r, "PS384", short(rc), f.assertionClaims(nil)),
		"sub of another":          with(map[string]any{"sub": newUUID()}),
		"iss of another":          with(map[string]any{"iss": newUUID()}),
		"another host":            with(map[string]any{"aud": "https://evil.example/d1/oauth2/v2.0/token"}),
		"another tenant":          with(map[string]any{"aud": testAuthority + "/d2/oauth2/v2.0/token"}),
		"the host alone":          with(map[string]any{"aud": testAuthority}),
		"for another too":         with(map[string]any{"aud": []string{testAuthority + "/d1/oauth2/token", "https://evil.example"}}),
		"no aud":                  with(map[string]any{"aud": nil}),
		"no exp":                  with(map[string]any{"exp": nil}),
		"expired":                 with(map[string]any{"exp": now}),
		"too long":                with(map[string]any{"exp": now + 3600}),
		"too long, by iat":        with(map[string]any{"exp": now + 60, "iat": now - 3600}),
		"not yet":                 with(map[string]any{"nbf": now + 300}),
		"no jti":                  with(map[string]any{"jti": nil}),
		"our own access token":    f.token(t),
		"nothing":                 "a.b.c",
		"its own claims, unnamed": "",
	} {
		if tok, err := f.Token(t.Context(), f.by(a)); tok != nil || err == nil || release.ReasonOf(err) != release.ReasonUnauthorized || strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: %v, %v", name, tok, err)
		}
	}
	f.p.Enabled = false
	f.objects.put(t, f.p)
	if _, err := f.Token(t.Context(), f.by(with(nil))); release.ReasonOf(err) != release.ReasonUnauthorized {
		t.Errorf("disabled: %v", err)
	}
}

// An assertion is good once for each resource, and not for another principal.
func TestAssertionIsSpent(t *testing.T) {
	f := newFixture(t)
	r, rc, _, _ := f.certificates(t)
	a := assert(t, r, "PS256", long(rc), f.assertionClaims(nil))
	for _, resource := range []string{"https://kv1.vault.local:8443", "https://vault.local:8443"} {
		req := f.by(a)
		req.Resource = resource
		if _, err := f.Token(t.Context(), req); err != nil {
			t.Fatalf("%s: %v", resource, err)
		}
		if _, err := f.Token(t.Context(), req); release.ReasonOf(err) != release.ReasonUnauthorized || err == nil {
			t.Errorf("%s, again: %v", resource, err)
		}
	}
	other := f.by(a)
	other.ClientID = newUUID()
	if _, err := f.Token(t.Context(), other); err == nil {
		t.Error("for another client")
	}
}

// The memory of assertions is bounded, makes room as they end, and refuses while full;
// no principal fills it alone.
func TestUsedIsBounded(t *testing.T) {
	u := used{ends: map[string]map[[32]byte]int64{}}
	spend := func(principal string, i int, end, now int64) error {
		return u.spend(principal, sha256.Sum256(fmt.Append(nil, i)), end, now)
	}
	fill := func(principal string) {
		t.Helper()
		for i := range maxUsedBy {
			if err := spend(principal, i, 100, 99); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill("a")
	if err := spend("a", -1, 200, 99); release.ReasonOf(err) != release.ReasonOverloaded {
		t.Errorf("more than its part: %v", err)
	}
	if err := spend("b", 0, 100, 99); err != nil {
		t.Errorf("another, while one is at its bound: %v", err)
	}
	if err := spend("b", 0, 100, 99); err == nil {
		t.Error("twice")
	}
	if err := spend("b", 0, 150, 100); err != nil || u.n != maxUsedBy+1 {
		t.Errorf("after its end: %v, %d remembered", err, u.n)
	}
	if err := spend("a", -1, 200, 100); err != nil || u.n != 2 {
		t.Errorf("after the end of its part: %v, %d remembered", err, u.n)
	}
	for _, p := range []string{"c", "d", "e"} {
		fill(p)
	}
	for i := 1; u.n < maxUsed; i++ {
		if err := spend("b", i, 100, 99); err != nil {
			t.Fatal(err)
		}
	}
	if err := spend("f", 0, 200, 99); release.ReasonOf(err) != release.ReasonOverloaded {
		t.Errorf("full: %v", err)
	}
	if err := spend("f", 0, 200, 100); err != nil || u.n != 3 || len(u.ends) != 3 {
		t.Errorf("after their end: %v, %d of %d remembered", err, u.n, len(u.ends))
	}
}

// Workload federation: a token of a trusted issuer for exactly this identity.
func TestFederation(t *testing.T) {
	f, a := trusting(t)
	const audience = "api://AzureADTokenExchange"
	f.p.Federated = []Federated{{Issuer: testIssuer, Subject: "system:serviceaccount:ns:app", Audience: audience}}
	f.objects.put(t, f.p)
	with := func(over map[string]any) string {
		c := map[string]any{"oid": nil, "sub": "system:serviceaccount:ns:app", "aud": []string{audience}}
		for k, v := range over {
			c[k] = v
		}
		return a.sign(t, `{"alg":"RS256","kid":"k1"}`, claimsOf(f, c))
	}
	good := with(nil)
	for range 2 { // a platform's token is used until it is replaced
		tok, err := f.Token(t.Context(), f.by(good))
		if err != nil {
			t.Fatal(err)
		}
		if c, err := f.Authenticate(t.Context(), tok.Access); err != nil || c.ID != f.p.ID {
			t.Errorf("%+v, %v", c, err)
		}
	}
	unauthorized(t, "as access token", f, good)
	for name, assertion := range map[string]string{
		"subject":         with(map[string]any{"sub": "system:serviceaccount:ns:app2"}),
		"subject's case":  with(map[string]any{"sub": "system:serviceaccount:ns:App"}),
		"audience":        with(map[string]any{"aud": testAudience}),
		"audiences":       with(map[string]any{"aud": []string{audience, "other"}}),
		"issuer":          with(map[string]any{"iss": "https://other.example"}),
		"expired":         with(map[string]any{"exp": f.now.Unix()}),
		"another's key":   newAuthority(t).sign(t, goodHeader, claimsOf(f, map[string]any{"sub": "system:serviceaccount:ns:app", "aud": audience})),
		"principal as it": with(map[string]any{"iss": f.p.ID, "sub": f.p.ID}),
	} {
		if tok, err := f.Token(t.Context(), f.by(assertion)); tok != nil || err == nil || release.ReasonOf(err) != release.ReasonUnauthorized {
			t.Errorf("%s: %v, %v", name, tok, err)
		}
	}
	f.p.Federated = nil
	f.objects.put(t, f.p)
	if _, err := f.Token(t.Context(), f.by(good)); err == nil {
		t.Error("federation taken away")
	}
	// Another issuer that is believed says nothing about this one's subjects.
	f.p.Federated = []Federated{{Issuer: "https://other.example", Subject: "system:serviceaccount:ns:app", Audience: audience}}
	f.objects.put(t, f.p)
	if err := f.Use(Trust{Issuers: []Issuer{{Issuer: testIssuer, JWKS: a.set}, {Issuer: "https://other.example", JWKS: newAuthority(t).set}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Token(t.Context(), f.by(good)); err == nil {
		t.Error("token of one issuer for an identity of another")
	}
}

func TestParseAssertionForm(t *testing.T) {
	kind := "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
	for body, want := range map[string]*TokenRequest{
		"client_assertion=a.b.c" + kind:                             {Assertion: "a.b.c"},
		"client_assertion=a.b.c":                                    nil,
		"client_assertion=a.b.c&client_assertion_type=saml":         nil,
		"client_assertion=a.b.c&client_secret=x" + kind:             nil,
		strings.TrimPrefix(kind, "&"):                               nil,
		"scope=https%3A%2F%2Fv%2F.default+openid+offline_access":    {Resource: "https://v"},
		"scope=openid+https%3A%2F%2Fv%2F.default+profile":           {Resource: "https://v"},
		"scope=https%3A%2F%2Fv%2F.default+https%3A%2F%2Fw/.default": nil,
	} {
		got, err := ParseForm([]byte(body))
		if (got == nil) != (want == nil) || want != nil && *got != *want || (err == nil) == (got == nil) {
			t.Errorf("%q: %+v, %v", body, got, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	odd, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := Federated{Issuer: testIssuer, Subject: "s", Audience: "a"}
	for name, c := range map[string]struct {
		change func(*Principal)
		ok     bool
	}{
		"certificate":        {func(p *Principal) { p.Certificates = []Certificate{{DER: certified(t, key).Raw}} }, true},
		"no secret":          {func(p *Principal) { p.Salt, p.Hash, p.Federated = nil, nil, []Federated{good} }, true},
		"dns":                {func(p *Principal) { p.Certificates = []Certificate{{SAN: "dns:a.example"}} }, true},
		"half a secret":      {func(p *Principal) { p.Salt = nil }, false},
		"odd curve":          {func(p *Principal) { p.Certificates = []Certificate{{DER: certified(t, odd).Raw}} }, false},
		"no certificate":     {func(p *Principal) { p.Certificates = []Certificate{{}} }, false},
		"both":               {func(p *Principal) { p.Certificates = []Certificate{{DER: certified(t, key).Raw, SAN: "dns:a"}} }, false},
		"wildcard":           {func(p *Principal) { p.Certificates = []Certificate{{SAN: "dns:*.example"}} }, false},
		"capitals":           {func(p *Principal) { p.Certificates = []Certificate{{SAN: "dns:A.example"}} }, false},
		"other kind of name": {func(p *Principal) { p.Certificates = []Certificate{{SAN: "email:a@b"}} }, false},
		"too many":           {func(p *Principal) { p.Certificates = make([]Certificate, maxCertificates+1) }, false},
		"http issuer":        {func(p *Principal) { p.Federated = []Federated{{"http://a", "s", "a"}} }, false},
		"no subject":         {func(p *Principal) { p.Federated = []Federated{{testIssuer, "", "a"}} }, false},
	} {
		p, _, err := NewPrincipal("x", time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		c.change(p)
		if _, err := p.Encode(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzAssertion(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	cert := certified(f, key)
	p := &Principal{ID: newUUID(), Name: "p", Enabled: true, Certificates: []Certificate{{DER: cert.Raw}}}
	s := &Service{c: Config{Deployment: "d1", Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}, used: used{ends: map[string]map[[32]byte]int64{}}}
	if err := s.Use(Trust{}); err != nil {
		f.Fatal(err)
	}
	f.Add(`{"iss":"`+p.ID+`","sub":"`+p.ID+`","aud":"`+testAuthority+`/adfs/oauth2/token","jti":"a","exp":1800000060}`, "")
	f.Add(`{"iss":"`+p.ID+`","aud":[],"exp":1e400}`, "?")
	f.Fuzz(func(t *testing.T, claims, thumbprint string) {
		var c, h map[string]any
		if json.Unmarshal([]byte(claims), &c) != nil {
			return
		}
		if h = long(cert); thumbprint != "" {
			h["x5t"] = thumbprint
		}
		a := assert(t, key, "ES256", h, c)
		err := s.asserted(t.Context(), &TokenRequest{ClientID: p.ID, Assertion: a, Authority: testAuthority}, p)
		if again := s.asserted(t.Context(), &TokenRequest{ClientID: p.ID, Assertion: a, Authority: testAuthority}, p); err == nil && again == nil {
			t.Fatalf("taken twice: %s", claims)
		}
	})
}
