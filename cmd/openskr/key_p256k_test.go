package main

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"testing"

	"github.com/openskr/openskr/release/keyvault/p256k"
)

// A key on P-256K, which the standard library does not read, is imported like others.
func TestPrivateJWKP256K(t *testing.T) {
	d := bytes.Repeat([]byte{0x21}, p256k.Size)
	k, err := p256k.New(d)
	if err != nil {
		t.Fatal(err)
	}
	der, err := k.PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := privateJWK(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), false)
	b64 := base64.RawURLEncoding.EncodeToString
	if err != nil || jwk["kty"] != "EC" || jwk["crv"] != "P-256K" || jwk["d"] != b64(d) || jwk["x"] != b64(k.Public()[1:33]) || jwk["y"] != b64(k.Public()[33:]) {
		t.Errorf("%v", err)
	}
	der[len(der)-1] ^= 1
	if _, err := privateJWK(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), false); err == nil {
		t.Error("a point that is not the key's own")
	}
}
