package jose

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

func set(keys ...string) []byte { return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`) }

func rsaJWK(pub *rsa.PublicKey, more string) string {
	return fmt.Sprintf(`{"kty":"RSA","n":%q,"e":%q%s}`, b64.EncodeToString(pub.N.Bytes()), b64.EncodeToString(big.NewInt(int64(pub.E)).Bytes()), more)
}

func ecJWK(t testing.TB, pub *ecdsa.PublicKey, more string) string {
	t.Helper()
	b, err := pub.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	n := len(b) / 2
	return fmt.Sprintf(`{"kty":"EC","crv":%q,"x":%q,"y":%q%s}`, pub.Params().Name, b64.EncodeToString(b[1:1+n]), b64.EncodeToString(b[1+n:]), more)
}

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestForeignAlgorithms: what other implementations sign with each algorithm verifies,
// and with no other algorithm or key.
func TestForeignAlgorithms(t *testing.T) {
	r, p256 := newRSA(t, 2048), newKey(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private := map[string]any{"RS256": r, "PS256": r, "PS384": r, "ES256": p256, "ES384": p384}
	public := map[string]any{"RS256": &r.PublicKey, "PS256": &r.PublicKey, "PS384": &r.PublicKey, "ES256": &p256.PublicKey, "ES384": &p384.PublicKey}
	for _, alg := range ForeignAlgorithms() {
		h := jws.NewHeaders()
		if err := h.Set("kid", "k"); err != nil {
			t.Fatal(err)
		}
		signed, err := jws.Sign([]byte(`{}`), jws.WithKey(jwa.SignatureAlgorithm(alg), private[alg], jws.WithProtectedHeaders(h)))
		if err != nil {
			t.Fatal(err)
		}
		m, err := SplitForeign(string(signed), 1<<12)
		if err != nil || m.Alg != alg || m.KID != "k" || string(m.Payload) != "{}" {
			t.Fatalf("%s: %+v, %v", alg, m, err)
		}
		for _, other := range ForeignAlgorithms() {
			for _, named := range []string{"", other} {
				key := &ForeignKey{Public: public[other], Alg: named}
				if err := m.Verify(key, []string{other}); (err == nil) != (alg == other) {
					t.Errorf("%s as %s (key says %q): %v", alg, other, named, err)
				}
			}
		}
		if err := m.Verify(&ForeignKey{Public: public[alg]}, nil); err == nil {
			t.Errorf("%s without an algorithm allowed", alg)
		}
	}
}

func TestParseKeySet(t *testing.T) {
	r, ec := newRSA(t, 2048), newKey(t)
	keys, err := ParseKeySet(set(
		rsaJWK(&r.PublicKey, `,"kid":"a","use":"sig","alg":"RS256","x5t":"unknown members are allowed"`), ecJWK(t, &ec.PublicKey, `,"kid":"b"`),
		rsaJWK(&r.PublicKey, `,"kid":"c","use":"enc"`), `{"kty":"OKP","kid":"d","crv":"Ed25519","x":"AA"}`, `{"kty":"EC","kid":"e","crv":"secp256k1"}`,
	))
	if err != nil || len(keys) != 2 || keys[0].Alg != "RS256" || !r.PublicKey.Equal(keys[0].Public) || !ec.PublicKey.Equal(keys[1].Public) {
		t.Fatalf("%+v, %v", keys, err)
	}
	if sum, err := keys[0].Thumbprint(); err != nil || sum == [32]byte{} {
		t.Error(sum, err)
	}
	for kid, found := range map[string]bool{"a": true, "b": true, "c": false, "": false, "A": false} {
		if k, ok := (&Foreign{KID: kid}).Find(keys); ok != found || ok && k.KID != kid {
			t.Errorf("kid %q: %v", kid, ok)
		}
	}
}

func TestKeySetRefused(t *testing.T) {
	r, other, weak, ec := newRSA(t, 2048), newRSA(t, 2048), newRSA(t, 1024), newKey(t)
	e3 := &rsa.PublicKey{N: r.N, E: 3}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<31, 0)}
	cert := func(pub, priv any) string {
		der, err := x509.CreateCertificate(rand.Reader, template, template, pub, priv)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(der)
	}
	good := rsaJWK(&r.PublicKey, `,"kid":"a"`)
	for name, b := range map[string][]byte{
		"empty": nil, "null": []byte("null"), "no keys": []byte("{}"), "empty list": set(), "list": []byte("[]"),
		"no usable key":           set(`{"kty":"OKP","crv":"Ed25519","x":"AA"}`),
		"private RSA":             set(rsaJWK(&r.PublicKey, `,"d":"AA"`)),
		"symmetric":               set(good, `{"kty":"oct","k":"AA"}`),
		"JW-07 same id":           set(good, ecJWK(t, &ec.PublicKey, `,"kid":"a"`)),
		"same id, other use":      set(good, ecJWK(t, &ec.PublicKey, `,"kid":"a","use":"enc"`)),
		"1024 bits":               set(rsaJWK(&weak.PublicKey, "")),
		"e = 3":                   set(rsaJWK(e3, "")),
		"e of eight bytes":        set(strings.Replace(good, `"AQAB"`, `"AQAAAAAAAAE"`, 1)),
		"n padded":                set(strings.Replace(good, `","e"`, `=","e"`, 1)),
		"no n":                    set(`{"kty":"RSA","e":"AQAB"}`),
		"off the curve":           set(`{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 42) + "E" + `","y":"` + strings.Repeat("A", 42) + `E"}`),
		"short coordinate":        set(`{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`),
		"member twice":            set(`{"kty":"RSA","kty":"EC"}`),
		"two documents":           append(set(good), "{}"...),
		"certificate of another":  set(rsaJWK(&r.PublicKey, `,"x5c":["`+cert(&other.PublicKey, other)+`"]`)),
		"certificate of a kind":   set(`{"kty":"RSA","x5c":["` + cert(&ec.PublicKey, ec) + `"]}`),
		"certificate, weak":       set(`{"kty":"RSA","x5c":["` + cert(&weak.PublicKey, weak) + `"]}`),
		"certificate, not base64": set(`{"kty":"RSA","x5c":["!"]}`),
		"certificate, not DER":    set(`{"kty":"RSA","x5c":["AAAA"]}`),
		"id of 513 bytes":         set(rsaJWK(&r.PublicKey, `,"kid":"`+strings.Repeat("k", 513)+`"`)),
		"65 keys":                 set(strings.Repeat(`{"kty":"OKP"},`, 64) + good),
		"huge":                    append(set(good), strings.Repeat(" ", MaxKeySet)...),
	} {
		if keys, err := ParseKeySet(b); err == nil {
			t.Errorf("%s: taken: %+v", name, keys)
		}
	}
	if keys, err := ParseKeySet(set(`{"kty":"RSA","x5c":["` + cert(&r.PublicKey, r) + `"]}`)); err != nil || !r.PublicKey.Equal(keys[0].Public) || !keys[0].End.Equal(template.NotAfter) {
		t.Errorf("%+v, %v", keys, err)
	}
}

func TestSplitForeignRefuses(t *testing.T) {
	part := func(s string) string { return b64.EncodeToString([]byte(s)) }
	for name, token := range map[string]string{
		"empty": "", "no algorithm": part(`{}`) + ".e30.AA", "null": part("null") + ".e30.AA",
		"crit": part(`{"alg":"RS256","crit":[]}`) + ".e30.AA", "b64": part(`{"alg":"RS256","b64":false}`) + ".e30.AA",
		"none": part(`{"alg":"none"}`) + ".e30.", "HS256": part(`{"alg":"HS256"}`) + ".e30.AA", "alg in other case": part(`{"alg":"rs256"}`) + ".e30.AA",
		"twice": part(`{"alg":"RS256","alg":"RS256"}`) + ".e30.AA", "long header": part(`{"alg":"RS256","jku":"`+strings.Repeat("x", maxHeader)+`"}`) + ".e30.AA",
		"long kid": part(`{"alg":"RS256","kid":"`+strings.Repeat("k", maxKID+1)+`"}`) + ".e30.AA", "too long": part(`{"alg":"RS256"}`) + "." + strings.Repeat("A", 1<<16) + ".AA",
	} {
		if m, err := SplitForeign(token, 1<<16); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

func FuzzParseKeySet(f *testing.F) {
	f.Add(set(rsaJWK(&newRSA(f, 2048).PublicKey, `,"kid":"a"`), ecJWK(f, &newKey(f).PublicKey, "")))
	f.Add(set(`{"kty":"RSA","x5c":["AAAA"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := ParseKeySet(b)
		if err != nil {
			return
		}
		if !json.Valid(b) || len(keys) == 0 {
			t.Fatalf("%+v", keys)
		}
		for i := range keys {
			if _, err := keys[i].Thumbprint(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzSplitForeign(f *testing.F) {
	fx := newFixture(f)
	key := &ForeignKey{Public: &fx.key.PublicKey}
	good := sign(f, fx.key, `{"alg":"ES256","typ":"JWT","jku":"https://a.example"}`, `{}`)
	f.Add(good)
	f.Add("..")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := SplitForeign(s, 1<<16)
		if err == nil && m.Verify(key, ForeignAlgorithms()) == nil && s != good {
			t.Fatalf("forged: %q", s)
		}
	})
}
