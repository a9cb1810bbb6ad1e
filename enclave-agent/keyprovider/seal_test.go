package keyprovider

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"testing"
)

// What the key's holder could have made, and this package never makes, is refused too.
func TestOpenRefusesOtherForms(t *testing.T) {
	oct := bytes.Repeat([]byte{1}, aesKey)
	r := &recipient{kid: kid, alg: algOct, material: secret(t, bytes.Clone(oct))}
	for what, options := range map[string][]byte{"no options": nil, "too many": make([]byte, MaxOptions+1)} {
		a := &annotation{V: 1, KID: kid, Alg: algOct}
		sealed, err := sealGCM(oct, a.context(), options)
		if err != nil {
			t.Fatal(err)
		}
		a.Wrapped = base64.RawURLEncoding.EncodeToString(sealed)
		if out, err := r.open(a); err == nil {
			t.Errorf("%s: opened, %d bytes", what, len(out))
		}
	}

	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	r = &recipient{kid: kid, alg: algRSA, rsa: &k.PublicKey, material: secret(t, der)}
	a := &annotation{V: 1, KID: kid, Alg: algRSA}
	short := make([]byte, 16)
	enc, err1 := rsa.EncryptOAEP(sha256.New(), rand.Reader, &k.PublicKey, short, a.context())
	sealed, err2 := sealGCM(short, a.context(), []byte("options"))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	a.Wrapped = base64.RawURLEncoding.EncodeToString(append(enc, sealed...))
	if _, err := r.open(a); err == nil {
		t.Error("opened with AES-128")
	}
}
