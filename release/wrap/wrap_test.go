package wrap

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"
)

// TestAlgorithms is KB-16: each recipient takes its own algorithms, in their exact
// spelling, and SHA-1 only where a door allows it.
func TestAlgorithms(t *testing.T) {
	all := []string{
		EncHPKEP256, EncHPKEX25519, EncHPKEMLKEM768P256, EncHPKEMLKEM768X25519, EncHPKEMLKEM1024P384, EncRSA256, EncRSA384, EncRSASHA1,
		"", "RSA1_5", "RSA-OAEP", "rsa_aes_key_wrap_256", "HPKE-P256", "none", "hpke-p256 ",
	}
	for _, name := range []string{
		EncHPKEP256, EncHPKEX25519, EncHPKEMLKEM768P256, EncHPKEMLKEM768X25519, EncHPKEMLKEM1024P384, "rsa2048-" + EncRSA256,
	} {
		v := fixed(t, name)
		for _, sha1 := range []bool{false, true} {
			w := Wrapper{AllowSHA1: sha1}
			for _, enc := range all {
				want := enc == v.Enc
				if strings.HasPrefix(name, "rsa") {
					want = enc == EncRSA256 || enc == EncRSA384 || enc == EncRSASHA1 && sha1
				}
				_, err := w.Check(v.JWK, enc)
				sealed, wrapErr := w.Wrap(v.JWK, enc, []byte("m"), nil, nil)
				if (err == nil) != want || (wrapErr == nil) != want || (sealed != nil) != want {
					t.Errorf("%s, enc %q, sha1 %v: Check %v, Wrap %v", name, enc, sha1, err, wrapErr)
				}
				var e *Error
				if err != nil && (!errors.As(err, &e) || e.ReleaseReason() != CodeAlgorithm) {
					t.Errorf("%s, enc %q: %v", name, enc, err)
				}
			}
		}
	}
}

// TestContext is KB-18: a wrapped key opens only with its own info and aad, and
// no bit of it may change.
func TestContext(t *testing.T) {
	for _, enc := range []string{EncHPKEP256, EncHPKEX25519, EncHPKEMLKEM768P256, EncHPKEMLKEM768X25519, EncHPKEMLKEM1024P384} {
		v := fixed(t, enc)
		sk := v.kemKey(t)
		open := func(info, aad, sealed []byte) bool {
			out, err := OpenHPKE(sk, info, aad, sealed)
			return err == nil && bytes.Equal(out, v.Material)
		}
		if !open(v.Info, v.AAD, v.Sealed) {
			t.Fatalf("%s does not open", enc)
		}
		if open(append(v.Info, 0), v.AAD, v.Sealed) || open(nil, v.AAD, v.Sealed) || open(v.Info, nil, v.Sealed) ||
			open(v.Info, v.AAD[1:], v.Sealed) || open(v.AAD, v.Info, v.Sealed) {
			t.Errorf("%s opens in another context", enc)
		}
		for _, n := range []int{0, 1, 65, len(v.Sealed) - 17, len(v.Sealed) - 1} {
			if open(v.Info, v.AAD, v.Sealed[:n]) {
				t.Errorf("%s opens when cut to %d bytes", enc, n)
			}
		}
		for at := 0; at < len(v.Sealed); at += 7 {
			bad := bytes.Clone(v.Sealed)
			bad[at] ^= 0x10
			if open(v.Info, v.AAD, bad) {
				t.Errorf("%s opens with byte %d changed", enc, at)
			}
		}
		again, err := (Wrapper{}).Wrap(v.JWK, enc, v.Material, v.Info, v.AAD)
		if err != nil || bytes.Equal(again, v.Sealed) || len(again) != len(v.Sealed) {
			t.Errorf("%s: two wraps are alike, or %v", enc, err)
		}
	}
}

func TestMaterialBounds(t *testing.T) {
	for _, name := range []string{EncHPKEP256, "rsa2048-" + EncRSA256} {
		v := fixed(t, name)
		for _, n := range []int{0, MaxMaterial + 1} {
			if _, err := (Wrapper{}).Wrap(v.JWK, v.Enc, make([]byte, n), nil, nil); err == nil {
				t.Errorf("%s: %d bytes wrapped", name, n)
			}
		}
		if _, err := (Wrapper{}).Wrap(v.JWK, v.Enc, make([]byte, MaxMaterial), nil, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenRSA(t *testing.T) {
	v := fixed(t, "rsa2048-"+EncRSA256)
	k := v.rsaKey(t)
	oaep := func(ct []byte) ([]byte, error) { return rsa.DecryptOAEP(OAEPHash(EncRSA256).New(), nil, k, ct, nil) }
	if len(v.Sealed) != 256+8+48 {
		t.Errorf("sealed to %d bytes, want C1 of the modulus and C2 of the padded material", len(v.Sealed))
	}
	for _, n := range []int{0, 1, 255, 256, 264, len(v.Sealed) - 1} {
		if _, err := OpenRSA(oaep, 256, v.Sealed[:n]); err == nil {
			t.Errorf("opens when cut to %d bytes", n)
		}
	}
	for _, size := range []int{0, -1, 384} {
		if _, err := OpenRSA(oaep, size, v.Sealed); err == nil {
			t.Errorf("opens with a modulus of %d bytes", size)
		}
	}
	for _, kek := range [][]byte{nil, make([]byte, 16), make([]byte, 31), make([]byte, 33)} { // AES-128 would be a downgrade
		c2, _ := WrapKWP(make([]byte, 16), []byte("m"))
		if _, err := OpenRSA(func([]byte) ([]byte, error) { return kek, nil }, 1, append([]byte{0}, c2...)); err == nil {
			t.Errorf("opens under a key of %d bytes", len(kek))
		}
	}
	if _, err := OpenRSA(func([]byte) ([]byte, error) { return make([]byte, 32), errors.New("no") }, 256, v.Sealed); err == nil {
		t.Error("opens although RSA refused")
	}
}

func BenchmarkCheck(b *testing.B) {
	bench(b, func(v *vector) error { _, err := (Wrapper{AllowSHA1: true}).Check(v.JWK, v.Enc); return err })
}

func BenchmarkVet(b *testing.B) {
	bench(b, func(v *vector) error { return Wrapper{}.Vet(v.JWK) })
}

func BenchmarkWrap(b *testing.B) {
	bench(b, func(v *vector) error {
		_, err := (Wrapper{AllowSHA1: true}).Wrap(v.JWK, v.Enc, v.Material, v.Info, v.AAD)
		return err
	})
}

func bench(b *testing.B, fn func(v *vector) error) {
	b.Helper()
	for name := range generated() {
		v := fixed(b, name)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := fn(v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkKWP(b *testing.B) {
	kek, material := make([]byte, 32), make([]byte, 1218) // PKCS#8 of an RSA-2048 key
	for b.Loop() {
		w, err := WrapKWP(kek, material)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := UnwrapKWP(kek, w); err != nil {
			b.Fatal(err)
		}
	}
}
