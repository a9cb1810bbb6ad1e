package enroll

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/internal/swtpm"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/releasetest"
)

// softTPM starts a real TPM implementation with its own manufacturer.
func softTPM(t *testing.T) (*swtpm.TPM, *guest.TPM) {
	t.Helper()
	if err := swtpm.Available(); err != nil {
		t.Skip(err)
	}
	s := must[*swtpm.TPM](t)(swtpm.Start(t.Context(), t.TempDir()))
	g := must[*guest.TPM](t)(guest.Open(s.Socket))
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, g
}

// TestRealTPM runs the whole path on a TPM that is none of ours: enrolment,
// approval, renewal, and evidence that verifies under the certificate.
func TestRealTPM(t *testing.T) {
	s, g := softTPM(t)
	_, stranger := softTPM(t)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.Roots) {
		t.Fatal("swtpm has no roots")
	}
	w := newWorld(t, func(c *Config) {
		now := time.Now()
		ca := newCA(t, "ak ca", now.Add(-time.Hour), now.Add(48*time.Hour))
		c.EKRoots, c.CA, c.CAKey, c.Now = roots, ca.cert, ca.key, time.Now
	})
	req := must[*format.EnrollRequest](t)(g.EnrollRequest(t.Context()))
	enroll := func() *format.EnrollResult {
		c := must[*format.EnrollChallenge](t)(w.Begin(t.Context(), *req))
		secret := must[[]byte](t)(g.Activate(t.Context(), c))
		return must[*format.EnrollResult](t)(w.Finish(t.Context(), format.EnrollProof{State: c.State, Secret: secret}))
	}
	res := enroll()
	if res.Status != release.MachinePending || res.Certificate != nil {
		t.Fatalf("%+v", res)
	}
	w.status(t, res.MachineID, release.MachineApproved)
	res = enroll()
	if len(res.Certificate) == 0 {
		t.Fatalf("%+v", res)
	}
	evidenceVerifies(t, g, w, res)

	// EV-18 on real TPMs: another TPM opens nothing, and its EK is not trusted here.
	c := must[*format.EnrollChallenge](t)(w.Begin(t.Context(), *req))
	if _, err := stranger.Activate(t.Context(), c); err == nil {
		t.Error("another TPM opens the credential")
	}
	theirs := must[*format.EnrollRequest](t)(stranger.EnrollRequest(t.Context()))
	_, err := w.Begin(t.Context(), *theirs)
	wantReason(t, "EK of another manufacturer", err, release.ReasonEKNotTrusted)
	mixed := *req
	mixed.AK = theirs.AK
	c = must[*format.EnrollChallenge](t)(w.Begin(t.Context(), mixed))
	if _, err := g.Activate(t.Context(), c); err == nil {
		t.Error("the TPM opens a credential for an AK of another TPM")
	}
}

func evidenceVerifies(t *testing.T, g *guest.TPM, w *world, res *format.EnrollResult) {
	t.Helper()
	v := must[*tpm.Verifier](t)(tpm.New(tpm.Config{
		AKRoots: []*x509.Certificate{w.cfg.CA}, Denied: func(*x509.Certificate) bool { return false },
	}))
	sel := guest.DefaultSelection()
	r := must[*guest.Recipient](t)(g.NewRecipient(t.Context(), guest.Hybrid, sel))
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	rd := releasetest.RuntimeData(func(d *binding.RuntimeData) { d.Keys[0] = r.JWK; d.Enc = "hpke-mlkem768-p256" })
	ev := must[attest.Evidence](t)(g.Evidence(t.Context(), rd, sel, r))
	ev.Endorsements = []attest.Endorsement{{Type: attest.EndorsementAKCertificate, Data: res.Certificate}}
	got, err := v.Verify(t.Context(), ev, attest.Expect{At: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if got.Identity.ID != res.MachineID || got.Authority != tpm.AuthorityAKCA {
		t.Errorf("verified as %+v by %s, enrolled as %s", got.Identity, got.Authority, res.MachineID)
	}
}
