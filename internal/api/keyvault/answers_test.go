package keyvault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/jose"
)

// issue makes chains below a root of the test's, and counts them.
func issue(t *testing.T, made *int) Chain {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(template, parent *x509.Certificate, pub crypto.PublicKey) (*x509.Certificate, error) {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
		if err != nil {
			return nil, err
		}
		return x509.ParseCertificate(der)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	root, err := sign(ca, ca, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return func(pub crypto.PublicKey, host string, _ time.Time) ([]*x509.Certificate, error) {
		*made++
		leaf, err := sign(&x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{host}}, root, pub)
		return []*x509.Certificate{leaf, root}, err
	}
}

// TestSigner: a certificate for each authority, made again when it is due, and the
// signature is by its key.
func TestSigner(t *testing.T) {
	for _, alg := range []string{RS256, ES256} {
		made, now := 0, time.Unix(1_800_000_000, 0)
		s, err := NewSigner(alg, issue(t, &made), func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		s.Warm()
		sign := func(host string) string {
			t.Helper()
			jws, err := s.SignFor(host, []byte("{}"))
			if err != nil {
				t.Fatal(err)
			}
			return jws
		}
		first := sign("a:8443")
		head := func(jws string) string { h, _, _ := strings.Cut(jws, "."); return h }
		if again := sign("a:8443"); head(again) != head(first) || made != 1 {
			t.Errorf("%s: %d certificates for one authority", alg, made)
		}
		if other := sign("b:8443"); head(other) == head(first) || made != 2 {
			t.Errorf("%s: two authorities have one certificate", alg)
		}
		now = now.Add(answerLife)
		if sign("a:8443"); made != 3 {
			t.Errorf("%s: a certificate is never renewed", alg)
		}
		f, err := jose.SplitForeign(first, 1<<16)
		if err != nil || f.Alg != alg {
			t.Fatalf("%+v, %v", f, err)
		}
		key, err := s.key()
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Verify(&jose.ForeignKey{Public: key.Public()}, []string{alg}); err != nil {
			t.Error(err)
		}
	}
	if _, err := NewSigner("none", nil, time.Now); err == nil {
		t.Error("a signature of no kind")
	}
}
