package tpm_test

import (
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm"
)

// costly are keys that a signature check must never be done with.
func costly(t *testing.T) map[string]any {
	odd := func(bits uint) *big.Int { return new(big.Int).SetBit(big.NewInt(1), int(bits-1), 1) }
	return map[string]any{
		"RSA of 4097 bits":      &rsa.PublicKey{N: odd(4097), E: 65537},
		"RSA of 60 kbit":        &rsa.PublicKey{N: odd(60_000), E: 65537},
		"RSA exponent 2^31 - 1": &rsa.PublicKey{N: odd(2048), E: 1<<31 - 1},
		"RSA exponent 3":        &rsa.PublicKey{N: odd(2048), E: 3},
		"P-224":                 eccKey(t, elliptic.P224()).Public(),
	}
}

func TestCostlyCertificateKeys(t *testing.T) {
	k := newMaker(t)
	public, sound := tpm2.Marshal(k.area), k.certify(t, same)
	roots := x509.NewCertPool()
	roots.AddCert(k.root)
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "issuing"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: []byte{1},
	}
	m := machine(t)
	external, err := tpm.New(tpm.Config{ExternalRoots: []*x509.Certificate{k.root}, ExternalIntermediates: []*x509.Certificate{k.issuing}})
	if err != nil {
		t.Fatal(err)
	}
	for name, pub := range costly(t) {
		t.Run(name, func(t *testing.T) {
			c := certificate(t, tpl, k.issuing, pub, k.issuingKey)
			_, err := tpm.VerifyEK(public, sound, [][]byte{k.issuing.Raw, c.Raw}, roots, now)
			wantCheck(t, err, attest.CheckChainUntrusted)
			_, err = tpm.VerifyEK(public, c.Raw, [][]byte{k.issuing.Raw}, roots, now)
			wantCheck(t, err, attest.CheckChainUntrusted)
			ev, err := m.Evidence(m.RuntimeData(nonce))
			if err != nil {
				t.Fatal(err)
			}
			ev.Endorsements = []attest.Endorsement{{Type: attest.EndorsementAKCertificate, Data: c.Raw}}
			_, err = external.Verify(t.Context(), ev, attest.Expect{At: now})
			wantCheck(t, err, attest.CheckChainUntrusted)
		})
	}
	issuing := k.issuing.Raw
	if _, err := tpm.VerifyEK(public, sound, [][]byte{issuing, issuing, issuing, issuing}, roots, now); err != nil {
		t.Errorf("four intermediates: %v", err)
	}
	_, err = tpm.VerifyEK(public, sound, [][]byte{issuing, issuing, issuing, issuing, issuing}, roots, now)
	wantCheck(t, err, attest.CheckMalformed)
}
