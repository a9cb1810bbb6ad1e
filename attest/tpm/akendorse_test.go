package tpm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestBelow: of the certificates sent, those count that a root leads to, whatever
// their order. With seven of his own on P-521 a stranger had a hundred signatures
// checked, more than thirty times the work of genuine evidence.
func TestBelow(t *testing.T) {
	root, rootKey := issue(t, "root", nil, nil)
	pinned, pinnedKey := issue(t, "pinned", root, rootKey)
	upper, upperKey := issue(t, "upper", pinned, pinnedKey)
	lower, _ := issue(t, "lower", upper, upperKey)
	fake, fakeKey := issue(t, "root", nil, nil)
	forged, forgedKey := issue(t, "pinned", fake, fakeKey)
	under, _ := issue(t, "lower", forged, forgedKey)

	sent := []*x509.Certificate{under, lower, forged, upper, fake}
	if got, want := below([]*x509.Certificate{root, pinned}, sent), []*x509.Certificate{root, pinned, upper, lower}; !slices.Equal(got, want) {
		t.Errorf("%d certificates, want the 4 that the root leads to", len(got))
	}
	if len(sent) != 5 || sent[0] != under {
		t.Error("what was sent has changed")
	}
}

// issue makes a CA.
func issue(t testing.TB, name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
		IsCA: true, BasicConstraintsValid: true,
	}
	if parent == nil {
		parent, by = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

func TestCertificates(t *testing.T) {
	first, _ := issue(t, "one", nil, nil)
	second, _ := issue(t, "two", nil, nil)
	a, b := first.Raw, second.Raw
	one := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a}))
	two := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b}))
	for name, c := range map[string]struct {
		in string
		n  int
	}{
		"DER": {string(a), 1}, "DER of two": {string(a) + string(b), 2}, "PEM": {one, 1}, "PEM with an end of lines and zeros": {one + "\r\n\n\x00\x00", 1}, "PEM of two": {two + one, 2},
		"none": {"", 0}, "twice": {string(a) + string(a), 0}, "twice in PEM": {one + one, 0}, "something behind": {string(a) + "x", 0},
		"text behind PEM": {one + "text", 0}, "a key": {strings.ReplaceAll(one, "CERTIFICATE", "PRIVATE KEY"), 0},
		"many": {strings.Repeat(one, 100_000), 0},
	} {
		got, err := Certificates([]byte(c.in))
		if len(got) != c.n || (err == nil) != (c.n > 0) {
			t.Errorf("%s: %d, %v", name, len(got), err)
		}
	}
}

func FuzzCertificates(f *testing.F) {
	c, _ := issue(f, "one", nil, nil)
	f.Add(c.Raw)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	f.Add(c.Raw[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := Certificates(b); err == nil && len(got) == 0 {
			t.Fatal("none, and no error")
		}
	})
}
