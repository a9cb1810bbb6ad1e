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
	curve := func(c elliptic.Curve) crypto.Signer { return onCurve(t, c) }
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
		root := curve(elliptic.P256())
		top := certificate(t, "root", true, root, nil, root)
		ca := certificate(t, "CA", true, tc.ca, top, root)
		leaf := certificate(t, "leaf", false, tc.leaf, ca, tc.ca)
		_, _, _, rej := anchors{top}.verify([]*x509.Certificate{leaf, ca, top}, time.Now())
		if tc.good != (rej == nil) || rej != nil && rej.Check != attest.CheckChainUntrusted {
			t.Errorf("%s: %v", name, rej)
		}
	}
}

func onCurve(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certificate is of key and by another, its own issuer without parent; it holds for an
// hour around now.
func certificate(t testing.TB, name string, ca bool, key crypto.Signer, parent *x509.Certificate, by crypto.Signer) *x509.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
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
