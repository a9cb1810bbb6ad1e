package gce

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"
	"time"
)

// TestBelow: of the certificates sent, those count that a root leads to, whatever
// their order. With seven of his own on P-521 a stranger had a hundred signatures
// checked, more than thirty times the work of genuine evidence.
func TestBelow(t *testing.T) {
	issue := func(name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
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
	root, rootKey := issue("root", nil, nil)
	pinned, pinnedKey := issue("pinned", root, rootKey)
	upper, upperKey := issue("upper", pinned, pinnedKey)
	lower, _ := issue("lower", upper, upperKey)
	fake, fakeKey := issue("root", nil, nil)
	forged, forgedKey := issue("pinned", fake, fakeKey)
	under, _ := issue("lower", forged, forgedKey)

	v := &Verifier{cfg: Config{Roots: []*x509.Certificate{root}, Intermediates: []*x509.Certificate{pinned}}}
	sent := []*x509.Certificate{under, lower, forged, upper, fake}
	if got, want := v.below(sent), []*x509.Certificate{pinned, upper, lower}; !slices.Equal(got, want) {
		t.Errorf("%d intermediates, want the 3 that the root leads to", len(got))
	}
	if len(sent) != 5 || sent[0] != under {
		t.Error("what was sent has changed")
	}
}
