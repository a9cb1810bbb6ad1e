package jose

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwe"
	"github.com/lestrrat-go/jwx/v2/jws"
)

var at = time.Unix(1_800_000_000, 0)

func expect() Expect {
	return Expect{Type: TypeAccessToken, Issuer: "urn:openskr:d1", Audience: "d1", At: at, MaxLife: time.Hour}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

type fixture struct {
	key  *ecdsa.PrivateKey
	kid  string
	keys Keys
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{key: newKey(t)}
	var err error
	if f.kid, err = KeyID(&f.key.PublicKey); err != nil {
		t.Fatal(err)
	}
	if f.keys, err = NewKeys(&f.key.PublicKey); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) head() string {
	return fmt.Sprintf(`{"alg":"ES256","typ":"at+jwt","kid":%q}`, f.kid)
}

const good = `{"iss":"urn:openskr:d1","aud":"d1","sub":"s","appid":"s","tid":"d1","jti":"j","iat":1800000000,"nbf":1800000000,"exp":1800003600}`

// sign makes a JWS of any header and payload with any key: what an attacker, or a
// mistake of ours, could produce.
func sign(t testing.TB, key *ecdsa.PrivateKey, head, payload string) string {
	t.Helper()
	in := b64.EncodeToString([]byte(head)) + "." + b64.EncodeToString([]byte(payload))
	return in + "." + b64.EncodeToString(raw(t, key, in))
}

func raw(t testing.TB, key *ecdsa.PrivateKey, in string) []byte {
	t.Helper()
	d := sha256.Sum256([]byte(in))
	r, s, err := ecdsa.Sign(rand.Reader, key, d[:])
	if err != nil {
		t.Fatal(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func TestSignVerify(t *testing.T) {
	f := newFixture(t)
	s, err := NewSigner(f.key, TypeAccessToken)
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.Sign([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Verify(token, f.keys, expect())
	if err != nil || c.Subject != "s" || c.Expires != 1800003600 {
		t.Fatalf("%+v, %v", c, err)
	}
	// another implementation reads it too
	if _, err := jws.Verify([]byte(token), jws.WithKey(jwa.ES256, &f.key.PublicKey)); err != nil {
		t.Error(err)
	}
	if _, err := Verify(sign(t, f.key, f.head(), good), f.keys, expect()); err != nil {
		t.Errorf("the tests' own signer makes no good token, so that its bad ones prove nothing: %v", err)
	}
}

func TestSignerWantsP256(t *testing.T) {
	k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewSigner(k, "x"); err == nil {
		t.Error("P-384 signer")
	}
	if _, err := NewSigner(nil, "x"); err == nil {
		t.Error("nil signer")
	}
	if _, err := NewKeys(&k.PublicKey); err == nil {
		t.Error("P-384 key pinned")
	}
}

// TestHeaders are rows JW-01 to JW-09, JW-12 to JW-14 and JW-20 of the catalogue:
// every token is validly signed over what it says, unless the row is about the signature.
func TestHeaders(t *testing.T) {
	f := newFixture(t)
	other := newKey(t)
	jwk := fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, coord(t, other, 1), coord(t, other, 33))
	unsigned := func(head string) string {
		return b64.EncodeToString([]byte(head)) + "." + b64.EncodeToString([]byte(good)) + "."
	}
	head := func(members string) string {
		return fmt.Sprintf(`{"alg":"ES256","typ":"at+jwt","kid":%q,%s}`, f.kid, members)
	}
	for name, token := range map[string]string{
		"JW-01 none":               unsigned(`{"alg":"none","typ":"at+jwt","kid":"` + f.kid + `"}`),
		"JW-01 None":               unsigned(`{"alg":"None","typ":"at+jwt","kid":"` + f.kid + `"}`),
		"JW-01 nOnE":               unsigned(`{"alg":"nOnE","typ":"at+jwt","kid":"` + f.kid + `"}`),
		"JW-01 empty signature":    unsigned(f.head()),
		"JW-02 HS256 with SPKI":    hs256(t, f),
		"JW-03 jwk":                sign(t, other, head(`"jwk":`+jwk), good),
		"JW-03 jwk, no kid":        sign(t, other, `{"alg":"ES256","typ":"at+jwt","jwk":`+jwk+`}`, good),
		"JW-04 jku":                sign(t, f.key, head(`"jku":"https://127.0.0.1:1/jwks"`), good),
		"JW-05 x5u":                sign(t, f.key, head(`"x5u":"https://127.0.0.1:1/c"`), good),
		"JW-05 x5c":                sign(t, f.key, head(`"x5c":["MIIB"]`), good),
		"JW-06 kid path":           sign(t, f.key, `{"alg":"ES256","typ":"at+jwt","kid":"../../dev/null"}`, good),
		"JW-06 kid absent":         sign(t, f.key, `{"alg":"ES256","typ":"at+jwt"}`, good),
		"JW-06 kid empty":          sign(t, f.key, `{"alg":"ES256","typ":"at+jwt","kid":""}`, good),
		"JW-08 crit unknown":       sign(t, f.key, head(`"crit":["x"],"x":1`), good),
		"JW-08 crit empty":         sign(t, f.key, head(`"crit":[]`), good),
		"JW-08 crit standard":      sign(t, f.key, head(`"crit":["alg"]`), good),
		"JW-09 b64 false":          sign(t, f.key, head(`"b64":false,"crit":["b64"]`), good),
		"JW-12 release response":   sign(t, f.key, strings.Replace(f.head(), "at+jwt", "application/openskr-release+jws", 1), good),
		"JW-12 no typ":             sign(t, f.key, `{"alg":"ES256","kid":"`+f.kid+`"}`, good),
		"JW-12 typ in other case":  sign(t, f.key, strings.Replace(f.head(), "at+jwt", "AT+JWT", 1), good),
		"JW-12 key of other use":   sign(t, other, f.head(), good),
		"JW-13 alg twice":          sign(t, f.key, head(`"alg":"ES256"`), good),
		"JW-13 alg twice, escaped": sign(t, f.key, head(`"\u0061lg":"ES256"`), good),
		"JW-13 Alg":                sign(t, f.key, head(`"Alg":"ES256"`), good),
		"JW-14 ES256K":             sign(t, f.key, strings.Replace(f.head(), "ES256", "ES256K", 1), good),
		"JW-14 RS256":              sign(t, f.key, strings.Replace(f.head(), "ES256", "RS256", 1), good),
		"JW-14 PS512":              sign(t, f.key, strings.Replace(f.head(), "ES256", "PS512", 1), good),
		"header null":              sign(t, f.key, `null`, good),
		"header array":             sign(t, f.key, `[]`, good),
		"payload null":             sign(t, f.key, f.head(), `null`),
		"JW-20 DER":                der(t, f),
		"JW-20 short":              cut(sign(t, f.key, f.head(), good)),
		"JW-20 r=s=0":              zero(f),
	} {
		refused(t, name, token, f.keys)
	}
}

// TestClaims are rows JW-10, JW-11, JW-13 and JW-16.
func TestClaims(t *testing.T) {
	f := newFixture(t)
	replace := func(old, new string) string {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("no %s in the good claims", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, claims := range map[string]string{
		"JW-10 no exp":         replace(`,"exp":1800003600`, ""),
		"JW-10 exp 10^12":      replace(`1800003600`, "1000000000000"),
		"JW-10 exp string":     replace(`1800003600`, `"1800003600"`),
		"JW-10 exp float":      replace(`1800003600`, `1800003600.0`),
		"JW-10 exp 1e400":      replace(`1800003600`, `1e400`),
		"JW-10 exp 1.8e9":      replace(`1800003600`, `1.8e9`),
		"JW-10 exp null":       replace(`1800003600`, `null`),
		"JW-10 expired":        replace(`1800003600`, `1800000000`),
		"JW-10 exp negative":   replace(`1800003600`, `-1`),
		"JW-10 life too long":  replace(`1800003600`, `1800003601`),
		"JW-10 nbf ahead":      replace(`"nbf":1800000000`, `"nbf":1800000031`),
		"JW-10 iat ahead":      replace(`"iat":1800000000`, `"iat":1800000031`),
		"JW-10 no iat":         replace(`"iat":1800000000,`, ``),
		"JW-10 no nbf":         replace(`"nbf":1800000000,`, ``),
		"JW-11 no aud":         replace(`"aud":"d1",`, ``),
		"JW-11 other aud":      replace(`"aud":"d1"`, `"aud":"d2"`),
		"JW-11 aud list":       replace(`"aud":"d1"`, `"aud":["d1"]`),
		"JW-11 aud list more":  replace(`"aud":"d1"`, `"aud":["d1","d2"]`),
		"JW-11 aud prefix":     replace(`"aud":"d1"`, `"aud":"d"`),
		"JW-11 aud suffix":     replace(`"aud":"d1"`, `"aud":"d1/"`),
		"JW-11 aud case":       replace(`"aud":"d1"`, `"aud":"D1"`),
		"JW-11 iss look-alike": replace(`urn:openskr:d1`, `urn:openskr:d1/`),
		"JW-11 no iss":         replace(`"iss":"urn:openskr:d1",`, ``),
		"JW-13 sub twice":      replace(`"sub":"s"`, `"sub":"s","sub":"admin"`),
		"JW-13 sub escaped":    replace(`"sub":"s"`, `"sub":"s","\u0073ub":"admin"`),
		"JW-13 sub case":       replace(`"sub":"s"`, `"sub":"s","Sub":"admin"`),
		"no sub":               replace(`"sub":"s",`, ``),
		"no jti":               replace(`"jti":"j",`, ``),
		"unknown claim":        replace(`"jti":"j"`, `"jti":"j","roles":["x"]`),
		"JW-16 nested":         replace(`"s"`, strings.Repeat("[", 5000)+strings.Repeat("]", 5000)),
		"trailing document":    good + "{}",
		"invalid UTF-8":        replace(`"s"`, "\"\xff\""),
	} {
		refused(t, name, sign(t, f.key, f.head(), claims), f.keys)
	}
}

// TestForms are rows JW-15 to JW-17 and JW-22: what is not a compact JWS of three
// canonical parts never reaches a parser.
func TestForms(t *testing.T) {
	f := newFixture(t)
	token := sign(t, f.key, f.head(), good)
	p := strings.Split(token, ".")
	flat := fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, p[1], p[0], p[2])
	bomb, err := jwe.Encrypt(make([]byte, 1<<20), jwe.WithKey(jwa.PBES2_HS256_A128KW, []byte("password")), jwe.WithCompress(jwa.Deflate))
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"empty":                "",
		"JW-15 JWE":            string(bomb),
		"JW-17 1 MiB":          token + strings.Repeat("A", 1<<20),
		"JW-17 dots":           strings.Repeat(".", 5_000_000),
		"four parts":           token + ".",
		"two parts":            p[0] + "." + p[1],
		"JW-09 detached":       p[0] + ".." + p[2],
		"JW-22 flat JSON":      flat,
		"JW-22 general JSON":   fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q},{"protected":%q,"signature":"AA"}]}`, p[1], p[0], p[2], p[0]),
		"JW-16 null members":   `{"payload":null,"signatures":null}`,
		"padding":              p[0] + "." + p[1] + "." + p[2] + "==",
		"line break":           p[0] + ".\n" + p[1] + "." + p[2],
		"space":                " " + token,
		"standard alphabet":    p[0] + "." + p[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(p[2][:85]) + "+",
		"spare bits":           p[0] + "." + p[1] + "." + p[2][:85] + next(p[2][85]),
		"NUL":                  token + "\x00",
		"payload of other":     p[0] + "." + b64.EncodeToString([]byte(strings.Replace(good, `"sub":"s"`, `"sub":"t"`, 1))) + "." + p[2],
		"header re-serialised": b64.EncodeToString([]byte(strings.Replace(f.head(), `,"typ"`, `, "typ"`, 1))) + "." + p[1] + "." + p[2],
	} {
		refused(t, name, token, f.keys)
	}
}

// Every bit of a good token matters.
func TestBitFlips(t *testing.T) {
	f := newFixture(t)
	token := sign(t, f.key, f.head(), good)
	for i := range len(token) {
		for bit := range 8 {
			b := []byte(token)
			b[i] ^= 1 << bit
			if _, err := Verify(string(b), f.keys, expect()); err == nil {
				t.Fatalf("bit %d of byte %d flipped: accepted", bit, i)
			}
		}
		if _, err := Verify(token[:i], f.keys, expect()); err == nil {
			t.Fatalf("accepted when cut at %d", i)
		}
	}
}

func TestExpectIsComplete(t *testing.T) {
	f := newFixture(t)
	token := sign(t, f.key, f.head(), strings.NewReplacer("urn:openskr:d1", "", `"aud":"d1"`, `"aud":""`).Replace(good))
	for _, want := range []Expect{
		{},
		{Type: "at+jwt", Audience: "", Issuer: "", At: at, MaxLife: time.Hour},
		{Type: "at+jwt", Issuer: "i", Audience: "a", MaxLife: time.Hour},
		{Type: "at+jwt", Issuer: "i", Audience: "a", At: at},
		{Issuer: "i", Audience: "a", At: at, MaxLife: time.Hour},
	} {
		if _, err := Verify(token, f.keys, want); err == nil {
			t.Errorf("accepted against %+v", want)
		}
	}
}

func refused(t *testing.T, name, token string, keys Keys) {
	t.Helper()
	c, err := Verify(token, keys, expect())
	if err == nil {
		t.Errorf("%s: accepted: %+v", name, c)
	} else if !errors.Is(err, ErrToken) {
		t.Errorf("%s: not an ErrToken: %v", name, err)
	}
}

func coord(t *testing.T, k *ecdsa.PrivateKey, from int) string {
	t.Helper()
	b, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b64.EncodeToString(b[from : from+32])
}

func hs256(t *testing.T, f *fixture) string {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	in := b64.EncodeToString([]byte(strings.Replace(f.head(), "ES256", "HS256", 1))) + "." + b64.EncodeToString([]byte(good))
	m := hmac.New(sha256.New, spki)
	m.Write([]byte(in))
	return in + "." + b64.EncodeToString(m.Sum(nil))
}

func der(t *testing.T, f *fixture) string {
	t.Helper()
	token := sign(t, f.key, f.head(), good)
	i := strings.LastIndexByte(token, '.')
	sig, err := b64.DecodeString(token[i+1:])
	if err != nil {
		t.Fatal(err)
	}
	d, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
	if err != nil {
		t.Fatal(err)
	}
	return token[:i+1] + b64.EncodeToString(d)
}

func cut(token string) string {
	i := strings.LastIndexByte(token, '.')
	return token[:i+1] + token[i+1:i+1+84] // 63 bytes
}

func zero(f *fixture) string {
	return b64.EncodeToString([]byte(f.head())) + "." + b64.EncodeToString([]byte(good)) + "." + b64.EncodeToString(make([]byte, 64))
}

// next gives a last character that decodes to the same bytes in a lax decoder.
func next(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)+1])
}

func FuzzVerify(f *testing.F) {
	fx := newFixture(f)
	token := sign(f, fx.key, fx.head(), good)
	f.Add(token)
	f.Add("..")
	f.Add(`{"payload":""}`)
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Verify(s, fx.keys, expect())
		if (c == nil) != (err != nil) {
			t.Fatal("not either claims or an error")
		}
		if err == nil && s != token {
			t.Fatalf("forged: %q", s)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	f := newFixture(b)
	s, err := NewSigner(f.key, TypeAccessToken)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Sign([]byte(good)); err != nil {
			b.Fatal(err)
		}
	}
}
