package ageplugin

import (
	"crypto"
	"crypto/ecdsa"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	agent "github.com/openskr/openskr/enclave-agent"
)

func b64u(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// ecJWK is the JWK of a key on P-256.
func ecJWK(t testing.TB, k *ecdsa.PublicKey) string {
	t.Helper()
	p, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"kid":%q,"kty":"EC","crv":"P-256","key_ops":[],"x":%q,"y":%q}`, kid, b64u(p[1:33]), b64u(p[33:]))
}

func TestParsePublicKey(t *testing.T) {
	ec, rs := newEC(t), newRSA(t)
	rsaJWK := fmt.Sprintf(`{"kid":%q,"kty":"RSA","n":%q,"e":"AQAB"}`, kid, b64u(rs.N.Bytes()))
	bundle := func(jwk string) string {
		return `{"key":` + jwk + `,"attributes":{"enabled":true,"exportable":true},"tags":{"d":"x"},"release_policy":{"data":"e30"}}`
	}
	for name, c := range map[string]struct {
		text string
		k    crypto.Signer
	}{
		"EC": {ecJWK(t, &ec.PublicKey), ec}, "EC of a bundle": {bundle(ecJWK(t, &ec.PublicKey)), ec},
		"RSA": {rsaJWK, rs}, "RSA of a bundle": {bundle(strings.Replace(rsaJWK, `"RSA"`, `"RSA-HSM"`, 1)), rs},
	} {
		if r, err := ParsePublicKey([]byte(c.text)); err != nil || r.String() != newRecipient(t, kid, c.k).String() {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	good := ecJWK(t, &ec.PublicKey)
	for name, text := range map[string]string{
		"empty": "", "none": "{}", "array": "[]", "two": good + good, "duplicate": good[:len(good)-1] + `,"kty":"EC"}`,
		"private EC":   good[:len(good)-1] + `,"d":"AAAA"}`,
		"private null": good[:len(good)-1] + `,"d":null}`,
		"symmetric":    `{"kid":"` + kid + `","kty":"oct","k":"AAAA"}`,
		"oct":          `{"kid":"` + kid + `","kty":"oct-HSM"}`,
		"P-384":        strings.Replace(good, "P-256", "P-384", 1),
		"no version":   strings.Replace(good, "/"+version, "", 1),
		"off curve":    swapped(good),
		"short x":      strings.Replace(good, `"x":"`, `"x":"AAAA","z":"`, 1),
		"padded":       strings.Replace(rsaJWK, `AQAB"`, `AQAB=="`, 1),
		"exponent 3":   strings.Replace(rsaJWK, "AQAB", "Aw", 1),
		"even":         strings.Replace(rsaJWK, "AQAB", "AQAC", 1),
		"huge":         good + strings.Repeat(" ", MaxPublicKey),
	} {
		if r, err := ParsePublicKey([]byte(text)); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("%s: %v, %v", name, r, err)
		} else if strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%s: the error quotes the file: %v", name, err)
		}
	}
}

// swapped exchanges x and y, which leaves the curve.
func swapped(jwk string) string {
	return strings.NewReplacer(`"x"`, `"y"`, `"y"`, `"x"`).Replace(jwk)
}

func FuzzParsePublicKey(f *testing.F) {
	f.Add([]byte(ecJWK(f, &newEC(f).PublicKey)))
	f.Add([]byte(`{"key":{"kid":"` + kid + `","kty":"RSA","n":"AQAB","e":"AQAB"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParsePublicKey(b)
		if err != nil {
			return
		}
		if _, err := ParseRecipient(r.String()); err != nil {
			t.Fatal(err)
		}
	})
}
