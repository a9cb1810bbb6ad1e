package main

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
)

func pemOf(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func member(t *testing.T, jwk map[string]string, name string) *big.Int {
	t.Helper()
	b, err := base64.RawURLEncoding.Strict().DecodeString(jwk[name])
	if err != nil || len(b) == 0 {
		t.Fatalf("%s: %q: %v", name, jwk[name], err)
	}
	return new(big.Int).SetBytes(b)
}

func TestPrivateJWK(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := privateJWK(pemOf(t, rsaKey), false)
	if err != nil {
		t.Fatal(err)
	}
	n := new(big.Int).Mul(member(t, jwk, "p"), member(t, jwk, "q"))
	if n.Cmp(rsaKey.N) != 0 || member(t, jwk, "n").Cmp(rsaKey.N) != 0 || member(t, jwk, "d").Cmp(rsaKey.D) != 0 || jwk["e"] != "AQAB" {
		t.Error("RSA members do not belong together")
	}
	one := big.NewInt(1)
	qInv := new(big.Int).Mul(member(t, jwk, "qi"), member(t, jwk, "q"))
	if qInv.Mod(qInv, member(t, jwk, "p")).Cmp(one) != 0 {
		t.Error("qi is not the inverse of q")
	}
	for curve, size := range map[elliptic.Curve]int{elliptic.P256(): 32, elliptic.P384(): 48, elliptic.P521(): 66} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		jwk, err := privateJWK(pemOf(t, key), false)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []string{"x", "y", "d"} {
			if b, err := base64.RawURLEncoding.DecodeString(jwk[m]); err != nil || len(b) != size {
				t.Errorf("%s: %s has %d bytes, want %d", jwk["crv"], m, len(b), size)
			}
		}
		d, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if member(t, jwk, "x").Cmp(key.X) != 0 || member(t, jwk, "d").Cmp(new(big.Int).SetBytes(d)) != 0 {
			t.Errorf("%s: members are not the key's", jwk["crv"])
		}
	}
}

func TestPrivateJWKRefuses(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const canary = "canary-canary"
	for name, in := range map[string][]byte{
		"nothing":         nil,
		"text":            []byte(canary),
		"public key":      []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
		"damaged":         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte(canary)}),
		"encrypted":       pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte(canary)}),
		"Ed25519":         pemOf(t, ed),
		"X25519":          pemOf(t, x25519),
		"P-224":           pemOf(t, p224),
		"two keys":        append(pemOf(t, ed), pemOf(t, ed)...),
		"key and comment": append([]byte(canary), '\n'),
	} {
		if _, err := privateJWK(in, false); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, size := range []int{0, 15, 17, 31, 33, 64} {
		if _, err := privateJWK(make([]byte, size), true); err == nil {
			t.Errorf("raw key of %d bytes taken", size)
		}
	}
}
