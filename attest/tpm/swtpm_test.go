package tpm_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
	"github.com/openskr/openskr/internal/swtpm"
)

// TestRealTPM enrols a software TPM that booted a real machine's log, and
// verifies what it collects: the two halves of this format against each other,
// with a TPM between them.
func TestRealTPM(t *testing.T) {
	if err := swtpm.Available(); err != nil {
		t.Skip(err)
	}
	ctx := context.Background()
	s, err := swtpm.Start(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	if err := errors.Join(s.Boot(testdata.Ubuntu2404AmdSevSnpEventLog), os.WriteFile(log, testdata.Ubuntu2404AmdSevSnpEventLog, 0o600)); err != nil {
		t.Fatal(err)
	}
	g, err := guest.Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(g.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	g.EventLog = log

	ca := machine(t)
	end := enrol(t, g, s.Roots, ca)
	v := verifier(t, ca)
	for _, kind := range []guest.Kind{guest.Hybrid, guest.P256, guest.RSA} {
		t.Run(string(kind), func(t *testing.T) {
			r, err := g.NewRecipient(ctx, kind, guest.DefaultSelection())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			rd := tpmtest.RuntimeData(string(r.JWK), nonce)
			ev, err := g.Evidence(ctx, rd, guest.DefaultSelection(), r)
			if err != nil {
				t.Fatal(err)
			}
			ev.Endorsements = end
			res, err := v.Verify(ctx, ev, attest.Expect{At: now})
			if err != nil {
				t.Fatal(err)
			}
			if !res.Facts.Resident || !res.Facts.Chain || res.Claims["boot"].(map[string]any)["cmdline"].(string)+"\x00" != testdata.Ubuntu2404AmdSevSnpCmdline {
				t.Errorf("result %+v", res)
			}
		})
	}
}

// enrol checks EK and AK as an enrolment does, activates a credential, and
// issues an AK certificate.
func enrol(t *testing.T, g *guest.TPM, rootsPEM []byte, ca *tpmtest.Machine) []attest.Endorsement {
	t.Helper()
	ctx := context.Background()
	req, err := g.EnrollRequest(ctx)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(rootsPEM) {
		t.Fatal("no roots")
	}
	var chain [][]byte
	for _, c := range req.Intermediates {
		chain = append(chain, c)
	}
	ek, err := tpm.VerifyEK(req.EKPublic, req.EKCertificate, chain, roots, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ak, err := tpm.ParseAK(req.AK)
	if err != nil {
		t.Fatal(err)
	}
	enc, err := tpm2.ImportEncapsulationKey(ek.PublicArea)
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("0123456789abcdef")
	id, es, err := tpm2.CreateCredential(rand.Reader, enc, ak.Name, secret)
	if err != nil {
		t.Fatal(err)
	}
	got, err := g.Activate(ctx, &format.EnrollChallenge{Credential: id, Secret: es})
	if err != nil || string(got) != string(secret) {
		t.Fatalf("activated %q, %v", got, err)
	}
	der, err := tpm.IssueAKCertificate(ca.CA, ca.CAKey, ak, tpm.AKCertificate{
		MachineID: "machine-1", AKName: ak.Name, EKHash: sha256.Sum256(ek.Certificate.RawSubjectPublicKeyInfo), NotBefore: ca.From, NotAfter: ca.To, Serial: big.NewInt(7),
	})
	if err != nil {
		t.Fatal(err)
	}
	return []attest.Endorsement{{Type: attest.EndorsementAKCertificate, Data: der}}
}
