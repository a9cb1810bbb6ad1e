package binding_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest/binding"
)

const good = `{"keys":[{"kty":"EC"}],"nonce":"AAAA","audience":"d","purpose":"release","key":"https://h/keys/k","enc":"HPKE"}`

func TestParse(t *testing.T) {
	r, err := binding.Parse([]byte(good))
	if err != nil || string(r.Recipient()) != `{"kty":"EC"}` || r.Key != "https://h/keys/k" || len(r.Nonce) != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	if binding.Digest([]byte(good)) != sha256.Sum256([]byte(good)) {
		t.Error("the digest is not SHA-256 of the bytes as received")
	}
	anyError := errors.New("")
	for _, c := range []struct {
		name, old, new string
		want           error
	}{
		{"no recipient", `[{"kty":"EC"}]`, `[]`, binding.ErrNoRecipient},
		{"no keys", `"keys":[{"kty":"EC"}],`, ``, binding.ErrNoRecipient},
		{"two recipients", `[{"kty":"EC"}]`, `[{"kty":"EC"},{"kty":"EC"}]`, binding.ErrAmbiguous},
		{"no nonce", `"nonce":"AAAA",`, ``, anyError},
		{"empty nonce", `"AAAA"`, `""`, anyError},
		{"nonce in the other alphabet", `"AAAA"`, `"+/+/"`, anyError},
		{"no audience", `"audience":"d",`, ``, anyError},
		{"no purpose", `"purpose":"release",`, ``, anyError},
		{"no key", `"key":"https://h/keys/k",`, ``, anyError},
		{"key and vault", `"enc"`, `"vault":"https://h","enc"`, anyError},
		{"empty vault", `"key":"https://h/keys/k"`, `"vault":""`, anyError},
		{"no enc", `,"enc":"HPKE"`, ``, anyError},
		{"member of another case", `"nonce"`, `"Nonce"`, anyError},
		{"member twice", `"purpose":"release"`, `"purpose":"release","purpose":"token"`, anyError},
		{"member twice, escaped", `"purpose":"release"`, `"purpose":"release","purp\u006fse":"token"`, anyError},
		{"unknown member", `"enc"`, `"x":1,"enc"`, anyError},
		{"recipient with a member twice", `{"kty":"EC"}`, `{"kty":"EC","kty":"RSA"}`, anyError},
		{"something behind it", `"HPKE"}`, `"HPKE"}{}`, anyError},
		{"not UTF-8", `"d"`, "\"\xff\"", anyError},
		{"nested too deep", `{"kty":"EC"}`, strings.Repeat("[", 40) + strings.Repeat("]", 40), anyError},
		{"too large", `"d"`, `"` + strings.Repeat("d", binding.MaxSize) + `"`, anyError},
	} {
		in := strings.Replace(good, c.old, c.new, 1)
		if in == good {
			t.Fatalf("%s: nothing replaced", c.name)
		}
		_, err := binding.Parse([]byte(in))
		if err == nil || c.want != anyError && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestParseVault: a token is for a vault, where a release names a key.
func TestParseVault(t *testing.T) {
	r, err := binding.Parse([]byte(strings.Replace(good, `"key":"https://h/keys/k"`, `"vault":"https://h"`, 1)))
	if err != nil || r.Vault != "https://h" || r.Key != "" {
		t.Fatalf("%+v, %v", r, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(strings.Replace(good, `"key":"https://h/keys/k"`, `"vault":"https://h"`, 1)))
	f.Add([]byte(`{"keys":[]}`))
	f.Add([]byte(`{"keys":[{}],"nonce":"AA==","audience":"","purpose":"","key":"","enc":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := binding.Parse(b)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatalf("read %q, cannot write it: %v", b, err)
		}
		r2, err := binding.Parse(again)
		if err != nil || !bytes.Equal(r2.Nonce, r.Nonce) || r2.Key != r.Key || r2.Vault != r.Vault || r2.Purpose != r.Purpose || r2.Audience != r.Audience || r2.Enc != r.Enc {
			t.Errorf("%q has two readings: %+v, %+v, %v", b, r, r2, err)
		}
	})
}
