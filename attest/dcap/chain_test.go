package dcap

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
)

// TestChainKeys: a key that is not on P-256 is not used at all. x509 would verify with
// any that a stranger names, which took a third of a second for an RSA key that fits
// into a quote.
func TestChainKeys(t *testing.T) {
	curve := func(c elliptic.Curve) crypto.Signer {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	modulus, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		ca, leaf crypto.Signer
		good     bool
	}{
		"P-256":      {curve(elliptic.P256()), curve(elliptic.P256()), true},
		"RSA CA":     {modulus, curve(elliptic.P256()), false},
		"RSA leaf":   {curve(elliptic.P256()), modulus, false},
		"P-384 CA":   {curve(elliptic.P384()), curve(elliptic.P256()), false},
		"P-521 leaf": {curve(elliptic.P256()), curve(elliptic.P521()), false},
	} {
		now, root := time.Now(), curve(elliptic.P256())
		issue := func(name string, ca bool, key crypto.Signer, parent *x509.Certificate, by crypto.Signer) *x509.Certificate {
			tmpl := &x509.Certificate{
				SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
				IsCA: ca, BasicConstraintsValid: true,
			}
			if parent == nil {
				parent = tmpl
			}
			der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), by)
			if err != nil {
				t.Fatal(err)
			}
			c, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		top := issue("root", true, root, nil, root)
		ca := issue("CA", true, tc.ca, top, root)
		leaf := issue("leaf", false, tc.leaf, ca, tc.ca)
		_, _, _, rej := anchors{top}.verify([]*x509.Certificate{leaf, ca, top}, now)
		if tc.good != (rej == nil) || rej != nil && rej.Check != attest.CheckChainUntrusted {
			t.Errorf("%s: %v", name, rej)
		}
	}
}
