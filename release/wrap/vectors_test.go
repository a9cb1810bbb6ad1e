package wrap

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha3"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/openskr/openskr/testvectors"
)

var update = flag.Bool("update", false, "make the generated vectors of testvectors/wrap anew, keeping their keys")

// hexBytes is binary data of a vector.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// vector is the body of testvectors/wrap. form says which members are used.
type vector struct {
	Form     string          `json:"form"` // "kwp", "hpke-export", "seal"
	Enc      string          `json:"enc,omitempty"`
	KEM      uint16          `json:"kem,omitempty"`
	Key      hexBytes        `json:"key"` // KEK, serialised KEM private key, or PKCS#8
	JWK      json.RawMessage `json:"jwk,omitempty"`
	Print    hexBytes        `json:"thumbprint,omitempty"`
	Info     hexBytes        `json:"info,omitempty"`
	AAD      hexBytes        `json:"aad,omitempty"`
	Material hexBytes        `json:"material,omitempty"`
	Sealed   hexBytes        `json:"sealed,omitempty"` // wrapped bytes, or enc of hpke-export
	Exports  hexBytes        `json:"exports,omitempty"`
}

func TestVectors(t *testing.T) {
	if *update {
		regenerate(t)
	}
	vectors, err := testvectors.Load("wrap")
	if err != nil {
		t.Fatal(err)
	}
	for _, tv := range vectors {
		t.Run(tv.Name, func(t *testing.T) {
			var v vector
			if err := json.Unmarshal(tv.Body, &v); err != nil {
				t.Fatal(err)
			}
			got, err := v.open(t)
			switch {
			case tv.Expect == testvectors.ExpectSuccess && (err != nil || !bytes.Equal(got, v.Material)):
				t.Errorf("got %x, %v", got, err)
			case tv.Expect != testvectors.ExpectSuccess && err == nil:
				t.Errorf("opened, want %s", tv.Expect)
			}
		})
	}
}

func (v *vector) open(t *testing.T) ([]byte, error) {
	switch {
	case v.Form == "kwp":
		return UnwrapKWP(v.Key, v.Sealed)
	case v.Form == "hpke-export":
		return v.Material, v.checkExports()
	case v.Form != "seal":
		t.Fatalf("unknown form %q", v.Form)
	}
	if v.JWK != nil {
		if sum, err := (Wrapper{AllowSHA1: true}).Check(v.JWK, v.Enc); err != nil || !bytes.Equal(sum[:], v.Print) {
			t.Errorf("recipient: thumbprint %x, %v", sum, err)
		}
	}
	if strings.HasPrefix(v.Enc, "hpke-") {
		return OpenHPKE(v.kemKey(t), v.Info, v.AAD, v.Sealed)
	}
	k := v.rsaKey(t)
	return OpenRSA(func(ct []byte) ([]byte, error) {
		return rsa.DecryptOAEP(OAEPHash(v.Enc).New(), nil, k, ct, nil)
	}, k.Size(), v.Sealed)
}

// checkExports runs the decapsulation of RFC 9180's vectors: the exporter secret
// rests on the encapsulated key, the private key, info and the suite ids. As in the
// standard library, 1000 exports are folded into one hash.
func (v *vector) checkExports() error {
	s, ok := suiteOf(v.KEM)
	if !ok {
		return fmt.Errorf("KEM %d", v.KEM)
	}
	sk, err := s.kem.NewPrivateKey(v.Key)
	if err != nil {
		return err
	}
	r, err := hpke.NewRecipient(v.Sealed, sk, s.kdf, hpke.AES256GCM(), v.Info)
	if err != nil {
		return err
	}
	source, sink := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	for n := range 1000 {
		value, err := r.Export(string(draw(source)), n)
		if err != nil {
			return err
		}
		_, _ = sink.Write(value)
	}
	sum := make([]byte, 16)
	_, _ = sink.Read(sum)
	if !bytes.Equal(sum, v.Exports) {
		return fmt.Errorf("exports %x, want %x", sum, v.Exports)
	}
	return nil
}

func draw(r *sha3.SHAKE) []byte {
	l := make([]byte, 1)
	_, _ = r.Read(l)
	b := make([]byte, l[0])
	_, _ = r.Read(b)
	return b
}

func (v *vector) kemKey(t testing.TB) hpke.PrivateKey {
	t.Helper()
	s, ok := suiteOf(v.KEM)
	if !ok {
		t.Fatalf("KEM %d", v.KEM)
	}
	sk, err := s.kem.NewPrivateKey(v.Key)
	if err != nil {
		t.Fatal(err)
	}
	return sk
}

func (v *vector) rsaKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	k, err := x509.ParsePKCS8PrivateKey(v.Key)
	if err != nil {
		t.Fatal(err)
	}
	return k.(*rsa.PrivateKey)
}

// jwk of the public half, as an agent would send it.
func (v *vector) jwk(t testing.TB) []byte {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	if v.KEM != 0 {
		return fmt.Appendf(nil, `{"kty":"HPKE","kem":%d,"kid":"vector","pub":%q}`, v.KEM, b64(v.kemKey(t).PublicKey().Bytes()))
	}
	return fmt.Appendf(nil, `{"kty":"RSA","kid":"vector","key_ops":["encrypt"],"n":%q,"e":"AQAB"}`, b64(v.rsaKey(t).N.Bytes()))
}

// generated lists the vectors that regenerate makes.
func generated() map[string]vector {
	out := map[string]vector{}
	for _, kem := range []uint16{16, 32, 80, 81, 25722} {
		s, _ := suiteOf(kem)
		out[s.enc] = vector{Form: "seal", Enc: s.enc, KEM: kem}
	}
	for _, bits := range []int{2048, 3072, 4096} {
		for _, enc := range []string{EncRSASHA1, EncRSA256, EncRSA384} {
			out[fmt.Sprintf("rsa%d-%s", bits, enc)] = vector{Form: "seal", Enc: enc}
		}
	}
	return out
}

// regenerate seals anew. Keys are kept when their file is there: small RSA keys
// are slow to make, and the diff stays readable.
func regenerate(t *testing.T) {
	const dir = "../../testvectors/wrap/"
	keys := map[string][]byte{}
	for name, v := range generated() {
		group, _, _ := strings.Cut(name, "-")
		if v.KEM != 0 {
			group = name
		}
		if old, err := os.ReadFile(dir + name + ".txt"); err == nil && keys[group] == nil {
			tv, err := testvectors.Parse(name, old)
			if err != nil {
				t.Fatal(err)
			}
			var was vector
			if err := json.Unmarshal(tv.Body, &was); err != nil {
				t.Fatal(err)
			}
			keys[group] = was.Key
		}
		if keys[group] == nil {
			keys[group] = newKey(t, v.KEM, group)
		}
		v.Key = keys[group]
		v.seal(t)
		for suffix, spoil := range map[string]func(v *vector) string{
			"":           func(*vector) string { return testvectors.ExpectSuccess },
			"-bit":       func(v *vector) string { v.Sealed[len(v.Sealed)-1] ^= 1; return "integrity check fails" },
			"-truncated": func(v *vector) string { v.Sealed = v.Sealed[:len(v.Sealed)-8]; return "integrity check fails" },
		} {
			w := v
			w.Sealed = bytes.Clone(v.Sealed)
			tv := testvectors.Vector{Expect: spoil(&w), Source: "generated, go test ./release/wrap -run TestVectors -update"}
			tv.Comment = v.Enc + " to a fixed key, opens to material" + strings.ReplaceAll(suffix, "-", "; changed: ")
			body, err := json.MarshalIndent(w, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			tv.Body = append(body, '\n')
			if err := os.WriteFile(dir+name+suffix+".txt", tv.Encode(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Skip("vectors made anew; run again without -update, embedded files are read at build time")
}

func newKey(t *testing.T, kem uint16, group string) []byte {
	t.Helper()
	if s, ok := suiteOf(kem); ok {
		sk, err := s.kem.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		b, err := sk.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var bits int
	if _, err := fmt.Sscanf(group, "rsa%d", &bits); err != nil {
		t.Fatal(err)
	}
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (v *vector) seal(t *testing.T) {
	t.Helper()
	v.JWK, v.Material = v.jwk(t), []byte("forty-one bytes of key material, not real")
	if v.KEM != 0 {
		v.Info, v.AAD = []byte("openskr/wrap/v1 and 32 bytes of a hash"), bytes.Repeat([]byte{0xaa}, 32)
	}
	w := Wrapper{AllowSHA1: true}
	sum, err := w.Check(v.JWK, v.Enc)
	if err != nil {
		t.Fatal(err)
	}
	v.Print = sum[:]
	if v.Sealed, err = w.Wrap(v.JWK, v.Enc, v.Material, v.Info, v.AAD); err != nil {
		t.Fatal(err)
	}
}
