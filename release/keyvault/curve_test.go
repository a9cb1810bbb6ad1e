package keyvault_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/keyvault/p256k"
)

// koblitz is a key on P-256K and its forms.
type koblitz struct {
	*p256k.PrivateKey
	der []byte
	jwk keyvault.JWK
}

func newKoblitz(t testing.TB) koblitz {
	t.Helper()
	d := bytes.Repeat([]byte{0x11}, p256k.Size)
	k, err := p256k.New(d)
	if err != nil {
		t.Fatal(err)
	}
	der, err := k.PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	point := k.Public()
	return koblitz{k, der, keyvault.JWK{Kty: "EC", Crv: "P-256K", D: d, X: point[1:33], Y: point[33:]}}
}

// public is the point as a row has it.
func (k koblitz) public() string {
	b64 := base64.RawURLEncoding.EncodeToString
	return `{"x":"` + b64(k.jwk.X) + `","y":"` + b64(k.jwk.Y) + `"}`
}

// A key on P-256K comes in as a file and as a JWK, and is one and the same.
func TestImportP256K(t *testing.T) {
	l, k := newLab(t), newKoblitz(t)
	file := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k.der})
	sec1, err := asn1.Marshal(struct { // RFC 5915 §3
		Version int
		Key     []byte
		Curve   asn1.ObjectIdentifier `asn1:"explicit,tag:0"`
	}{1, k.jwk.D, asn1.ObjectIdentifier{1, 3, 132, 0, 10}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"der": k.der, "pem": file, "sec1": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})} {
		m, err := keyvault.ParsePrivate(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		row, err := l.Import(t.Context(), keyvault.DefaultVault, name, keyvault.ImportKey{Material: m})
		if err != nil {
			t.Fatal(err)
		}
		if row.Kty != "EC" || row.Crv != "P-256K" || row.Size != 256 || string(row.Public) != k.public() {
			t.Errorf("%s: %+v, public %s", name, row, row.Public)
		}
		digest := make([]byte, 32)
		sig := l.operate(t, name, keyvault.Operation{Op: "sign", Algorithm: "ES256K", Value: digest}).Value
		if !p256k.Verify(k.Public(), digest, sig) {
			t.Errorf("%s: signs with another key", name)
		}
	}
	other := newKoblitz(t).jwk
	for name, change := range map[string]func(*keyvault.JWK){
		"another point": func(j *keyvault.JWK) { j.X, j.Y = j.Y, j.X }, "zero": func(j *keyvault.JWK) { j.D = make([]byte, 32) },
		"beyond the order": func(j *keyvault.JWK) { j.D = bytes.Repeat([]byte{255}, 32) }, "short": func(j *keyvault.JWK) { j.D = j.D[1:] },
		"curve of NIST": func(j *keyvault.JWK) { j.Crv = "P-256" }, "its name elsewhere": func(j *keyvault.JWK) { j.Crv = "secp256k1" },
	} {
		j := other
		change(&j)
		_, err := keyvault.FromJWK(j)
		want(t, name, err, release.ReasonKeyInvalid)
	}
	torn := bytes.Clone(k.der)
	torn[len(torn)-1] ^= 1
	if _, err := keyvault.ParsePrivate(torn); err == nil || !strings.Contains(err.Error(), "does not belong") {
		t.Errorf("a point of another key: %v", err)
	}
}

// What a release gives away is PKCS #8 with the curve's name, which openssl reads.
func TestReleaseP256K(t *testing.T) {
	l := newLab(t)
	in := attested("EC")
	in.Crv = "P-256K"
	row := l.create(t, "k", in)
	got, err := l.release(t, baseURL+"/keys/k/"+row.Version, nil)
	if err != nil {
		t.Fatal(err)
	}
	k, err := p256k.ParsePKCS8(got)
	if err != nil {
		t.Fatal(err)
	}
	if out := (koblitz{jwk: keyvault.JWK{X: k.Public()[1:33], Y: k.Public()[33:]}}); string(row.Public) != out.public() {
		t.Errorf("released %s, public %s", out.public(), row.Public)
	}
	_, err = l.Create(t.Context(), keyvault.DefaultVault, "sized", keyvault.CreateKey{Kty: "EC", Crv: "P-256K", Size: 384})
	want(t, "size of another curve", err, release.ReasonKeyInvalid)
}
