package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

const (
	testIssuer   = "https://login.example/tenant/v2.0"
	testAudience = "https://vault.azure.net"
)

// authority is an external issuer with one RSA key.
type authority struct {
	key *rsa.PrivateKey
	set []byte
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	set := fmt.Sprintf(`{"keys":[{"kty":"RSA","kid":"k1","use":"sig","n":%q,"e":%q}]}`,
		b64.EncodeToString(key.N.Bytes()), b64.EncodeToString(big.NewInt(int64(key.E)).Bytes()))
	return &authority{key, []byte(set)}
}

// sign makes a JWS of header and claims, each JSON text.
func (a *authority) sign(t testing.TB, header, claims string) string {
	t.Helper()
	return signed(t, a.key, "RS256", header, claims)
}

const goodHeader = `{"alg":"RS256","typ":"JWT","kid":"k1"}`

// claimsOf makes claims that are good at the fixture's time; over replaces members,
// nil takes one away.
func claimsOf(f *fixture, over map[string]any) string {
	c := map[string]any{
		"iss": testIssuer, "aud": testAudience, "sub": "subject", "oid": "object", "groups": []string{"a", "vault-readers"},
		"iat": f.now.Unix(), "nbf": f.now.Unix(), "exp": f.now.Add(time.Hour).Unix(),
	}
	for k, v := range over {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	b, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// trusting is a fixture that trusts an authority.
func trusting(t *testing.T, change ...func(*Issuer)) (*fixture, *authority) {
	t.Helper()
	f, a := newFixture(t), newAuthority(t)
	is := Issuer{
		Issuer: testIssuer, Audiences: []string{testAudience}, JWKS: a.set,
		Roles: []Mapping{{Claim: "groups", Value: "vault-readers", Role: RoleReader, Scope: "/vaults/default"}},
	}
	for _, c := range change {
		c(&is)
	}
	if err := f.Use(Trust{Issuers: []Issuer{is}}); err != nil {
		t.Fatal(err)
	}
	return f, a
}

// TestNaming: an oid counts where Entra ID assigns it, and nowhere else by default.
func TestNaming(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://sts.windows.net/11111111-2222-4333-8444-555555555555/": "oid",
		"https://login.microsoftonline.com/11111111/v2.0":               "oid",
		"https://login.microsoftonline.com.evil.example/v2.0":           "sub",
		"http://sts.windows.net/1/":                                     "sub",
		testIssuer:                                                      "sub",
	} {
		if got := naming(issuer); got != want {
			t.Errorf("%s: %s, want %s", issuer, got, want)
		}
	}
}

func TestExternal(t *testing.T) {
	f, a := trusting(t)
	tok := a.sign(t, goodHeader, claimsOf(f, nil))
	c, err := f.Authenticate(t.Context(), tok)
	if err != nil || c.ID != ExternalID(testIssuer, "subject") || c.Name != "subject" {
		t.Fatalf("%+v, %v", c, err)
	}
	if !c.May(KeysRead, "/vaults/default/keys/k") || c.May(KeysRead, "/vaults/other/keys/k") || c.May(KeysCreate, "/vaults/default") {
		t.Errorf("rights: %+v", c.Assignments)
	}
	c, err = f.Authenticate(t.Context(), a.sign(t, goodHeader, claimsOf(f, map[string]any{"oid": nil, "groups": "vault-readers"})))
	if err != nil || c.ID != ExternalID(testIssuer, "subject") || !c.May(KeysRead, "/vaults/default") {
		t.Errorf("without an oid: %+v, %v", c, err)
	}
	c, err = f.Authenticate(t.Context(), a.sign(t, goodHeader, claimsOf(f, map[string]any{"groups": []string{"vault-readers2"}})))
	if err != nil || len(c.Assignments) != 0 {
		t.Errorf("without the claim's value: %+v, %v", c, err)
	}
	brief := a.sign(t, goodHeader, claimsOf(f, map[string]any{"exp": f.now.Unix() + 60}))
	if _, err := f.Authenticate(t.Context(), brief); err != nil {
		t.Fatal(err)
	}
	f.now = f.now.Add(time.Minute)
	unauthorized(t, "expired, and still remembered", f, brief)
	f.now = f.now.Add(time.Hour - time.Minute)
	unauthorized(t, "expired", f, tok)
}

// What an external caller may do is read at every use, and so is whether somebody
// disabled it here.
func TestExternalAssignments(t *testing.T) {
	f, a := trusting(t, func(is *Issuer) { is.Roles = nil })
	tok := a.sign(t, goodHeader, claimsOf(f, nil))
	c, err := f.Authenticate(t.Context(), tok)
	if err != nil || c.May(KeysRead, Everywhere) {
		t.Fatalf("%+v, %v", c, err)
	}
	id := ExternalID(testIssuer, "subject")
	f.objects.assign(t, id, Assignment{ID: newUUID(), Role: RoleReader, Scope: Everywhere, By: "test"})
	if c, err = f.Authenticate(t.Context(), tok); err != nil || !c.May(KeysRead, Everywhere) {
		t.Errorf("granted: %+v, %v", c, err)
	}
	f.objects.put(t, &Principal{ID: id, Name: "blocked"})
	unauthorized(t, "disabled", f, tok)
}

// TestConfusion is JW-01 to JW-17: whatever is not a token of the issuer as
// configured is refused.
func TestConfusion(t *testing.T) {
	f, a := trusting(t)
	other := newAuthority(t)
	good := claimsOf(f, nil)
	if _, err := f.Authenticate(t.Context(), a.sign(t, goodHeader, good)); err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte) string {
		input := b64.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT","kid":"k1"}`)) + "." + b64.EncodeToString([]byte(good))
		h := hmac.New(sha256.New, key)
		h.Write([]byte(input))
		return input + "." + b64.EncodeToString(h.Sum(nil))
	}
	spki, err := x509.MarshalPKIXPublicKey(&a.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	embedded := string(other.set[len(`{"keys":[`) : len(other.set)-2])
	for name, tok := range map[string]string{
		"none":              b64.EncodeToString([]byte(`{"alg":"none","kid":"k1"}`)) + "." + b64.EncodeToString([]byte(good)) + ".",
		"nOnE":              b64.EncodeToString([]byte(`{"alg":"nOnE","kid":"k1"}`)) + "." + b64.EncodeToString([]byte(good)) + ".",
		"HS256 by DER":      mac(spki),
		"HS256 by JWK":      mac(a.set),
		"other key":         other.sign(t, goodHeader, good),
		"embedded jwk":      other.sign(t, `{"alg":"RS256","typ":"JWT","kid":"k1","jwk":`+embedded+`}`, good),
		"jku":               other.sign(t, `{"alg":"RS256","typ":"JWT","kid":"k1","jku":"https://evil.example/jwks"}`, good),
		"x5u":               other.sign(t, `{"alg":"RS256","typ":"JWT","kid":"k1","x5u":"https://evil.example/c"}`, good),
		"x5c":               other.sign(t, `{"alg":"RS256","typ":"JWT","kid":"k1","x5c":["AAAA"]}`, good),
		"no kid":            a.sign(t, `{"alg":"RS256","typ":"JWT"}`, good),
		"kid of nobody":     a.sign(t, `{"alg":"RS256","typ":"JWT","kid":"../../dev/null"}`, good),
		"kid twice":         a.sign(t, `{"alg":"RS256","typ":"JWT","kid":"k2","kid":"k1"}`, good),
		"crit":              a.sign(t, `{"alg":"RS256","typ":"JWT","kid":"k1","crit":["exp"],"exp":1}`, good),
		"empty crit":        a.sign(t, `{"alg":"RS256","typ":"JWT","kid":"k1","crit":[]}`, good),
		"b64 false":         a.sign(t, `{"alg":"RS256","typ":"JWT","kid":"k1","b64":false}`, good),
		"nested":            a.sign(t, `{"alg":"RS256","typ":"JWT","cty":"JWT","kid":"k1"}`, good),
		"PS256 where RS256": a.sign(t, `{"alg":"PS256","typ":"JWT","kid":"k1"}`, good),
		"other typ":         a.sign(t, `{"alg":"RS256","typ":"attested+jwt","kid":"k1"}`, good),
		"detached":          strings.Replace(a.sign(t, goodHeader, good), b64.EncodeToString([]byte(good)), "", 1),
		"JSON":              `{"payload":"","signatures":[]}`,
		"five parts":        a.sign(t, goodHeader, good) + ".a.b",
		"claims null":       a.sign(t, goodHeader, "null"),
		"claims twice":      a.sign(t, goodHeader, strings.Replace(good, "{", `{"sub":"root",`, 1)),
		"deep":              a.sign(t, goodHeader, strings.Replace(good, "{", `{"x":`+strings.Repeat("[", 64)+strings.Repeat("]", 64)+`,`, 1)),
		"long":              a.sign(t, goodHeader, claimsOf(f, map[string]any{"x": strings.Repeat("a", 16<<10)})),
		"dots":              strings.Repeat(".", 1<<20),
	} {
		unauthorized(t, name, f, tok)
	}
}

// TestClaims is JW-10, JW-11, JW-21.
func TestClaims(t *testing.T) {
	f, a := trusting(t)
	now := f.now.Unix()
	for name, over := range map[string]map[string]any{
		"no exp":                {"exp": nil},
		"exp now":               {"exp": now},
		"exp far":               {"exp": 1_000_000_000_000},
		"exp of a week":         {"exp": now + 7*86400},
		"exp string":            {"exp": fmt.Sprint(now + 60)},
		"exp huge":              {"exp": json.RawMessage("1e300")},
		"exp out of range":      {"exp": json.RawMessage("1e400")},
		"exp null":              {"exp": json.RawMessage("null")},
		"no iat":                {"iat": nil},
		"iat ahead":             {"iat": now + 120, "exp": now + 600},
		"iat negative":          {"iat": -1},
		"nbf ahead":             {"nbf": now + 120},
		"nbf huge":              {"nbf": json.RawMessage("1e300")},
		"iat huge":              {"iat": json.RawMessage("1e300")},
		"nbf null":              {"nbf": json.RawMessage("null")},
		"no aud":                {"aud": nil},
		"aud of another":        {"aud": "https://vault.azure.net.evil.example"},
		"aud with a slash":      {"aud": testAudience + "/"},
		"aud ours and others":   {"aud": []string{testAudience, "https://evil.example"}},
		"aud empty":             {"aud": []string{}},
		"aud number":            {"aud": 1},
		"iss of another":        {"iss": "https://login.example.evil/tenant/v2.0"},
		"iss with a slash":      {"iss": testIssuer + "/"},
		"iss in capitals":       {"iss": strings.ToUpper(testIssuer)},
		"no iss":                {"iss": nil},
		"nobody":                {"oid": nil, "sub": nil},
		"sub not text":          {"sub": 7},
		"sub too long":          {"sub": strings.Repeat("a", 600)},
		"this deployment's iss": {"iss": f.Issuer()},
	} {
		unauthorized(t, name, f, a.sign(t, goodHeader, claimsOf(f, over)))
	}
	for name, over := range map[string]map[string]any{
		"a fraction":     {"iat": json.RawMessage(fmt.Sprintf("%d.5", now)), "exp": json.RawMessage(fmt.Sprintf("%d.25", now+60))},
		"a list of one":  {"aud": []string{testAudience}},
		"ahead a little": {"iat": now + 30, "nbf": now + 30},
		"no nbf":         {"nbf": nil},
	} {
		if _, err := f.Authenticate(t.Context(), a.sign(t, goodHeader, claimsOf(f, over))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	ids := map[string]bool{}
	for _, sub := range []string{"a", "A", "a ", "а", "a\x00"} { // distinct, never folded
		ids[ExternalID(testIssuer, sub)] = true
	}
	ids[ExternalID("https://other.example", "a")] = true
	ids[ExternalID(testIssuer+"a", "")] = true
	if len(ids) != 7 {
		t.Errorf("%d ids of 7 callers", len(ids))
	}
}

// An issuer without audiences is for federation: its tokens open nothing.
func TestFederationOnly(t *testing.T) {
	f, a := trusting(t, func(is *Issuer) { is.Audiences, is.Roles = nil, nil })
	unauthorized(t, "token", f, a.sign(t, goodHeader, claimsOf(f, nil)))
}

// Keys are asked for as often as they are needed, and a set that is too old is none.
func TestFetchedKeys(t *testing.T) {
	f, a := newFixture(t), newAuthority(t)
	set, fetched, asked := a.set, f.now, 0
	var failing error
	f.c.KeySet = func(_ context.Context, issuer string) ([]byte, time.Time, error) {
		if asked++; issuer != testIssuer {
			t.Errorf("asked for %s", issuer)
		}
		return set, fetched, failing
	}
	if err := f.Use(Trust{Issuers: []Issuer{{Issuer: testIssuer, Audiences: []string{testAudience}}}}); err != nil {
		t.Fatal(err)
	}
	tok := a.sign(t, goodHeader, claimsOf(f, nil))
	for range 2 {
		if _, err := f.Authenticate(t.Context(), tok); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times for one token", asked)
	}
	unauthorized(t, "unconfigured issuer", f, a.sign(t, goodHeader, claimsOf(f, map[string]any{"iss": "https://evil.example"})))
	if asked != 1 {
		t.Error("asked for an issuer that is not configured")
	}
	set = newAuthority(t).set // JW-18: withdrawn
	f.now = f.now.Add(cachedForeign)
	unauthorized(t, "withdrawn key", f, tok)
	set, f.now = a.set, fetched.Add(keySetMaxAge+time.Second)
	tok = a.sign(t, goodHeader, claimsOf(f, nil))
	unauthorized(t, "old set", f, tok)
	fetched, failing = f.now, errors.New("unreachable")
	unauthorized(t, "unreachable", f, tok)
	failing, set = nil, []byte(strings.Repeat(" ", jose.MaxKeySet+1))
	unauthorized(t, "huge set", f, tok)
}

func TestUseRefuses(t *testing.T) {
	f, a := newFixture(t), newAuthority(t)
	f.c.Own = []string{"kv1.vault.local:8443", "vault.local:8443"}
	good := Issuer{Issuer: testIssuer, Audiences: []string{testAudience}, JWKS: a.set}
	for name, change := range map[string]func(*Issuer){
		"http":             func(is *Issuer) { is.Issuer = "http://login.example" },
		"user":             func(is *Issuer) { is.Issuer = "https://u@login.example" },
		"query":            func(is *Issuer) { is.Issuer = "https://login.example?a" },
		"ourselves":        func(is *Issuer) { is.Issuer = "https://KV1.vault.local:8443" },
		"a vault of ours":  func(is *Issuer) { is.Issuer = "https://a.vault.local:8443" },
		"algorithm":        func(is *Issuer) { is.Algorithms = []string{"HS256"} },
		"none":             func(is *Issuer) { is.Algorithms = []string{"none"} },
		"life":             func(is *Issuer) { is.MaxLife = 30 * 24 * time.Hour },
		"empty audience":   func(is *Issuer) { is.Audiences = []string{""} },
		"role":             func(is *Issuer) { is.Roles = []Mapping{{"groups", "a", "Owner", "/"}} },
		"scope":            func(is *Issuer) { is.Roles = []Mapping{{"groups", "a", RoleReader, "/keys"}} },
		"any value":        func(is *Issuer) { is.Roles = []Mapping{{"groups", "", RoleReader, "/"}} },
		"below":            func(is *Issuer) { is.Roles = []Mapping{{"groups", "a", RoleAuditor, "/vaults/default"}} },
		"roles for nobody": func(is *Issuer) { is.Audiences, is.Roles = nil, []Mapping{{"groups", "a", RoleReader, "/"}} },
		"no keys":          func(is *Issuer) { is.JWKS = nil },
		"private keys":     func(is *Issuer) { is.JWKS = []byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`) },
		"key id named twice": func(is *Issuer) {
			is.JWKS = []byte(strings.Replace(string(a.set), "[{", "["+string(a.set[9:len(a.set)-2])+",{", 1))
		},
	} {
		is := good
		change(&is)
		if err := f.Use(Trust{Issuers: []Issuer{is}}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := f.Use(Trust{Issuers: []Issuer{good, good}}); err == nil {
		t.Error("twice: accepted")
	}
	neighbour := good // of the broker, not below it
	neighbour.Issuer = "https://login.local:8443"
	if err := f.Use(Trust{Issuers: []Issuer{good, neighbour}}); err != nil {
		t.Error(err)
	}
}

// A new Trust forgets what the old one let in.
func TestUseForgets(t *testing.T) {
	f, a := trusting(t)
	tok := a.sign(t, goodHeader, claimsOf(f, nil))
	if _, err := f.Authenticate(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	if err := f.Use(Trust{}); err != nil {
		t.Fatal(err)
	}
	unauthorized(t, "issuer taken away", f, tok)
}

func FuzzExternal(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	set := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","x":%q,"y":%q}]}`, b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:]))
	fix := newFixture(f)
	if err := fix.Use(Trust{Issuers: []Issuer{{Issuer: testIssuer, Audiences: []string{testAudience}, JWKS: []byte(set), Algorithms: []string{"ES256"}}}}); err != nil {
		f.Fatal(err)
	}
	const header = `{"alg":"ES256","typ":"JWT","kid":"k1"}`
	if _, err := fix.Authenticate(f.Context(), signed(f, key, "ES256", header, claimsOf(fix, nil))); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(header), []byte(claimsOf(fix, nil)))
	f.Add([]byte(header), []byte(`{"iss":"`+testIssuer+`","aud":["a","b"],"exp":1e400,"iat":null}`))
	f.Add([]byte(`{"alg":"ES256","kid":"k1","x5t":"!"}`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, header, claims []byte) {
		// signed by the issuer's own key, so that the parsers behind the signature are reached
		c, err := fix.Authenticate(t.Context(), signed(t, key, "ES256", string(header), string(claims)))
		if err == nil && !idForm.MatchString(c.ID) || err != nil && release.ReasonOf(err) != release.ReasonUnauthorized {
			t.Fatalf("%+v, %v", c, err)
		}
	})
}
