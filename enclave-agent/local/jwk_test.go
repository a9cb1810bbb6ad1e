package local

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// jwkOf reads an answer as the sidecar's clients do.
func jwkOf(t testing.TB, body []byte) map[string]string {
	t.Helper()
	var out struct{ Key string }
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	var jwk map[string]string
	if err := json.Unmarshal([]byte(out.Key), &jwk); err != nil {
		t.Fatalf("%s: %v", out.Key, err)
	}
	return jwk
}

func number(t testing.TB, s string) *big.Int {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return new(big.Int).SetBytes(b)
}

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestRelease(t *testing.T) {
	t.Run("oct", func(t *testing.T) {
		body, err := release("oct-HSM", []byte{0xfb, 0xff, 0})
		if err != nil || string(body) != `{"key":"{\"k\":\"-_8A\",\"kty\":\"oct\"}"}` {
			t.Errorf("%s, %v", body, err)
		}
	})
	t.Run("RSA", func(t *testing.T) {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		der := pkcs8(t, k)
		body, err := release("RSA", der)
		if err != nil {
			t.Fatal(err)
		}
		jwk := jwkOf(t, body)
		for name, want := range map[string]*big.Int{
			"n": k.N, "e": big.NewInt(int64(k.E)), "d": k.D, "p": k.Primes[0], "q": k.Primes[1],
			"dp": k.Precomputed.Dp, "dq": k.Precomputed.Dq, "qi": k.Precomputed.Qinv,
		} {
			if number(t, jwk[name]).Cmp(want) != 0 {
				t.Errorf("%s is another number", name)
			}
		}
		if jwk["kty"] != "RSA" || len(jwk) != 9 {
			t.Errorf("members %v", slices.Sorted(maps.Keys(jwk)))
		}
		if cap(body) != 4*len(der)+512 {
			t.Error("the buffer was moved: the old one is not cleared")
		}
	})
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		t.Run(curve.Params().Name, func(t *testing.T) {
			k, err := ecdsa.GenerateKey(curve, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			body, err := release("EC", pkcs8(t, k))
			if err != nil {
				t.Fatal(err)
			}
			jwk := jwkOf(t, body)
			d, err := k.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			point, err := k.PublicKey.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			b64 := base64.RawURLEncoding.EncodeToString
			if half := len(point) / 2; jwk["d"] != b64(d) || jwk["x"] != b64(point[1:1+half]) || jwk["y"] != b64(point[1+half:]) {
				t.Error("another key")
			}
			if jwk["crv"] != curve.Params().Name || jwk["kty"] != "EC" || len(jwk) != 5 {
				t.Errorf("members %v", slices.Sorted(maps.Keys(jwk)))
			}
		})
	}
}

// A JWK of what is no key of the type is an error, which says nothing of the material.
func TestReleaseRefuses(t *testing.T) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der := pkcs8(t, k)
	for name, c := range map[string]struct {
		kty      string
		material []byte
	}{
		"no type":         {"", der},
		"unknown type":    {"AES", der},
		"EC as RSA":       {"RSA", der},
		"another curve":   {"EC", pkcs8(t, p224)},
		"bytes behind":    {"EC", append(bytes.Clone(der), 0)},
		"cut":             {"EC", der[:len(der)-1]},
		"not DER":         {"EC", []byte("canary-canary-canary")},
		"RSA, not DER":    {"RSA", []byte("canary-canary-canary")},
		"nothing":         {"EC", nil},
		"an empty key":    {"oct", nil},
		"raw bytes as EC": {"EC", make([]byte, 32)},
	} {
		body, err := release(c.kty, c.material)
		if err == nil || body != nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %s, %v", name, body, err)
		}
	}
}

func FuzzRelease(f *testing.F) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("EC", pkcs8(f, k))
	f.Add("RSA", pkcs8(f, r))
	f.Add("oct", []byte("0123456789abcdef"))
	f.Add("EC", pkcs8(f, r))
	f.Fuzz(func(t *testing.T, kty string, material []byte) {
		body, err := release(kty, material)
		if err != nil {
			return
		}
		jwk := jwkOf(t, body)
		if jwk["kty"] != strings.TrimSuffix(kty, "-HSM") || cap(body) != 4*len(material)+512 {
			t.Errorf("%q: %v", kty, jwk["kty"])
		}
	})
}
