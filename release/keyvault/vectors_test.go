package keyvault_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPublishedVectors has the examples of SP 800-38A F.2 (CBC) and RFC 5649 §6 (key
// wrap with padding) through the vault, in both directions.
func TestPublishedVectors(t *testing.T) {
	l := newLab(t)
	l.weak(t, true)
	const (
		blocks = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
		iv     = "000102030405060708090a0b0c0d0e0f"
		kek    = "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8"
	)
	for i, v := range []struct{ alg, key, iv, plain, sealed string }{
		{"A128CBC", "2b7e151628aed2a6abf7158809cf4f3c", iv, blocks, "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"},
		{"A192CBC", "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", iv, blocks, "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd"},
		{"A256CBC", "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", iv, blocks, "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"},
		{"CKM_AES_KEY_WRAP_PAD", kek, "", "c37b7e6492584340bed12207808941155068f738", "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a"},
		{"CKM_AES_KEY_WRAP_PAD", kek, "", "466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"},
	} {
		name := "v" + string(rune('0'+i))
		l.imported(t, name, unhex(t, v.key))
		seal, open := keyvault.OpEncrypt, keyvault.OpDecrypt
		if v.iv == "" {
			seal, open = keyvault.OpWrap, keyvault.OpUnwrap
		}
		out := l.operate(t, name, keyvault.Operation{Op: seal, Algorithm: v.alg, Value: unhex(t, v.plain), IV: unhex(t, v.iv)})
		if hex.EncodeToString(out.Value) != v.sealed || !bytes.Equal(out.IV, unhex(t, v.iv)) {
			t.Errorf("%s: %x, iv %x", v.alg, out.Value, out.IV)
		}
		back := l.operate(t, name, keyvault.Operation{Op: open, Algorithm: v.alg, Value: unhex(t, v.sealed), IV: unhex(t, v.iv)})
		if hex.EncodeToString(back.Value) != v.plain {
			t.Errorf("%s: back %x", v.alg, back.Value)
		}
	}
}

// Corruptions of wrapped keys, as Wycheproof has them: one answer for all.
func TestKeyWrapPadRefuses(t *testing.T) {
	l := newLab(t)
	l.imported(t, "k", make([]byte, 32))
	for size := 1; size <= 40; size += 13 {
		wrapped := l.operate(t, "k", keyvault.Operation{Op: "wrapKey", Algorithm: "CKM_AES_KEY_WRAP_PAD", Value: bytes.Repeat([]byte{9}, size)}).Value
		plain := l.operate(t, "k", keyvault.Operation{Op: "wrapKey", Algorithm: "CKM_AES_KEY_WRAP", Value: bytes.Repeat([]byte{9}, (size+15)/8*8)}).Value
		bad := map[string][]byte{"cut": wrapped[:len(wrapped)-8], "odd": wrapped[:len(wrapped)-1], "long": append(bytes.Clone(wrapped), make([]byte, 8)...), "without padding": plain, "one": {1}}
		for i := range wrapped {
			bad[string(rune('A'+i))] = append(append(bytes.Clone(wrapped[:i]), wrapped[i]^1), wrapped[i+1:]...)
		}
		for what, b := range bad {
			if got := l.refused(t, "k", keyvault.Operation{Op: "unwrapKey", Algorithm: "CKM_AES_KEY_WRAP_PAD", Value: b}); got != release.ReasonDecryption {
				t.Errorf("%d bytes, %s: %s", size, what, got)
			}
		}
		if got := l.refused(t, "k", keyvault.Operation{Op: "unwrapKey", Algorithm: "CKM_AES_KEY_WRAP", Value: wrapped}); got != release.ReasonDecryption {
			t.Errorf("%d bytes with padding, opened without: %s", size, got)
		}
	}
}

// The iv of CBC: a caller's, or one that the vault makes, never twice the same.
func TestCBCIV(t *testing.T) {
	l := newLab(t)
	l.weak(t, true)
	l.imported(t, "k", make([]byte, 16))
	in := keyvault.Operation{Op: "encrypt", Algorithm: "A128CBCPAD", Value: []byte("secret")}
	first, second := l.operate(t, "k", in), l.operate(t, "k", in)
	if len(first.IV) != 16 || bytes.Equal(first.IV, second.IV) {
		t.Errorf("iv %x and %x", first.IV, second.IV)
	}
	if got := l.operate(t, "k", keyvault.Operation{Op: "decrypt", Algorithm: "A128CBCPAD", Value: first.Value, IV: first.IV}).Value; string(got) != "secret" {
		t.Errorf("%q", got)
	}
	for what, bad := range map[string]keyvault.Operation{
		"short iv": {Op: "encrypt", Algorithm: "A128CBC", Value: make([]byte, 16), IV: make([]byte, 12)},
		"no iv":    {Op: "decrypt", Algorithm: "A128CBC", Value: make([]byte, 16)},
		"odd":      {Op: "encrypt", Algorithm: "A128CBC", Value: make([]byte, 15)},
		"tag":      {Op: "encrypt", Algorithm: "A128CBC", Value: make([]byte, 16), Tag: make([]byte, 16)},
		"iv of kw": {Op: "wrapKey", Algorithm: "A128KW", Value: make([]byte, 16), IV: make([]byte, 16)},
	} {
		if got := l.refused(t, "k", bad); got != release.ReasonBadRequest {
			t.Errorf("%s: %s", what, got)
		}
	}
}

// TestOpenSSLCBC has openssl at the other end.
func TestOpenSSLCBC(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	l := newLab(t)
	l.weak(t, true)
	key, iv := bytes.Repeat([]byte{0xa5}, 32), bytes.Repeat([]byte{0x5a}, 16)
	l.imported(t, "k", key)
	path := filepath.Join(t.TempDir(), "sealed")
	out := l.operate(t, "k", keyvault.Operation{Op: "encrypt", Algorithm: "A256CBCPAD", Value: []byte("a secret of some length"), IV: iv})
	if err := os.WriteFile(path, out.Value, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := exec.Command("openssl", "enc", "-d", "-aes-256-cbc", "-K", hex.EncodeToString(key), "-iv", hex.EncodeToString(iv), "-in", path).CombinedOutput()
	if err != nil || string(got) != "a secret of some length" {
		t.Errorf("openssl reads %q, %v", got, err)
	}
}
