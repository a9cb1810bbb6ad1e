package tpm_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"testing"

	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
)

// BenchmarkVerify is the whole verification of TPM evidence with a real log of
// 45 kB, as a broker does it for a machine it has seen before. Compare it with
// BenchmarkMandatory: two signatures and the hashes of log and PCRs.
func BenchmarkVerify(b *testing.B) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	for name, change := range map[string]func(*tpmtest.Machine){
		"P-256 AK":         func(*tpmtest.Machine) {},
		"RSA-2048 AK":      func(m *tpmtest.Machine) { m.AKKey, m.AK = key, tpmtest.AKTemplate(&key.PublicKey) },
		"P-256 AK, no log": func(m *tpmtest.Machine) { m.Log = nil },
	} {
		b.Run(name, func(b *testing.B) {
			m := booted(b, testdata.Ubuntu2404AmdSevSnpEventLog, tpm2.TPMAlgSHA256)
			change(m)
			ev, err := m.Evidence(m.RuntimeData(nonce))
			if err != nil {
				b.Fatal(err)
			}
			v := verifier(b, m)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), ev, attest.Expect{At: now}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMandatory is the cryptography that no verifier of this evidence can leave out.
func BenchmarkMandatory(b *testing.B) {
	log := testdata.Ubuntu2404AmdSevSnpEventLog
	d := sha256.Sum256(log)
	key := eccKey(b, elliptic.P256())
	sig, err := ecdsa.SignASN1(rand.Reader, key, d[:])
	if err != nil {
		b.Fatal(err)
	}
	b.Run("P-256", func(b *testing.B) {
		for b.Loop() {
			sha256.Sum256(log)
			for range 2 {
				if !ecdsa.VerifyASN1(&key.PublicKey, d[:], sig) {
					b.Fatal()
				}
			}
		}
	})
	rk, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	if sig, err = rsa.SignPKCS1v15(rand.Reader, rk, crypto.SHA256, d[:]); err != nil {
		b.Fatal(err)
	}
	b.Run("RSA-2048", func(b *testing.B) {
		for b.Loop() {
			sha256.Sum256(log)
			for range 2 {
				if err := rsa.VerifyPKCS1v15(&rk.PublicKey, crypto.SHA256, d[:], sig); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
