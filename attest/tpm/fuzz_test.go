package tpm_test

import (
	"crypto/x509"
	"testing"

	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm"
)

// FuzzEvidence sends bodies through the whole verifier: only the sound ones pass.
func FuzzEvidence(f *testing.F) {
	m := machine(f)
	m.Boot(boot())
	rd := m.RuntimeData(nonce)
	ev, err := m.Evidence(rd)
	if err != nil {
		f.Fatal(err)
	}
	v := verifier(f, m)
	f.Add(ev.Body)
	m.Log = testdata.HostGMESEventLog
	if ev, err := m.Evidence(rd); err == nil {
		f.Add(ev.Body)
	}
	f.Add([]byte(`{"type":"tpm","quote":"","signature":"","ak":"","pcrs":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e := ev
		e.Body = body
		res, err := v.Verify(t.Context(), e, attest.Expect{At: now})
		if err == nil && (!res.Facts.Chain || !res.Facts.Signature || !res.Facts.Bound) {
			t.Fatalf("accepted with %+v", res.Facts)
		}
	})
}

// FuzzAKCertificate sends certificates: nothing but the issued one passes.
func FuzzAKCertificate(f *testing.F) {
	m := machine(f)
	ev, err := m.Evidence(m.RuntimeData(nonce))
	if err != nil {
		f.Fatal(err)
	}
	v := verifier(f, m)
	issued := ev.Endorsements[0].Data
	f.Add([]byte(issued))
	f.Add(m.CA.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		e := ev
		e.Endorsements = []attest.Endorsement{{Type: attest.EndorsementAKCertificate, Data: der}}
		if _, err := v.Verify(t.Context(), e, attest.Expect{At: now}); err == nil && string(der) != string(issued) {
			t.Fatal("accepted another certificate")
		}
	})
}

// FuzzVerifyEK sends public areas and certificates of an EK.
func FuzzVerifyEK(f *testing.F) {
	k := newMaker(f)
	public, cert := tpm2.Marshal(k.area), k.certify(f, same)
	roots := x509.NewCertPool()
	roots.AddCert(k.root)
	f.Add(public, cert, k.issuing.Raw)
	f.Fuzz(func(t *testing.T, public, cert, intermediate []byte) {
		ek, err := tpm.VerifyEK(public, cert, [][]byte{intermediate}, roots, now)
		if err == nil && (ek.Certificate == nil || ek.PublicArea == nil) {
			t.Fatal("accepted without a key")
		}
	})
}

// FuzzFromAttestation reads protobuf of go-tpm-tools.
func FuzzFromAttestation(f *testing.F) {
	f.Add(attestation(f, "gce-cos-85-nonce9009.pb"))
	f.Add([]byte{0x12, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		ev, err := tpm.FromAttestation(b)
		if err == nil && len(ev.Body) == 0 {
			t.Fatal("no body")
		}
	})
}
