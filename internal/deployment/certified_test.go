package deployment

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/store/sqlite"
	"github.com/openskr/openskr/release"
)

// A new deployment has a key for attestation tokens, certified by itself and no CA.
func TestAttestationKey(t *testing.T) {
	o := newSite(t).open(t)
	if len(o.AttestationKeys) != 1 {
		t.Fatalf("%d keys", len(o.AttestationKeys))
	}
	k := o.AttestationKeys[0]
	if k.Cert.IsCA || k.Cert.KeyUsage != x509.KeyUsageDigitalSignature || k.Key.N.BitLen() != 2048 || !k.Key.PublicKey.Equal(k.Cert.PublicKey) {
		t.Errorf("certificate %+v", k.Cert)
	}
	if err := k.Cert.CheckSignature(k.Cert.SignatureAlgorithm, k.Cert.RawTBSCertificate, k.Cert.Signature); err != nil {
		t.Error(err)
	}
	if s := fmt.Sprintf("%v %#v", k, o.AttestationKeys); strings.Contains(s, k.Key.D.String()) {
		t.Error("prints the key")
	}
}

// The key rotates with overlap, as the others do.
func TestAttestationKeyRotates(t *testing.T) {
	s := newSite(t)
	o := s.open(t)
	old := o.AttestationKeys[0]
	for i, step := range []Step{StepAnnounce, StepActivate, StepRetire} {
		if err := o.Rotate(t.Context(), record("x"), KindAttestation, step); err != nil {
			t.Fatal(err)
		}
		o = reopened(t, s, o)
		first := o.AttestationKeys[0].Key.Equal(old.Key)
		if want := []int{2, 2, 1}[i]; len(o.AttestationKeys) != want || first != (step == StepAnnounce) {
			t.Errorf("%s: %d keys, the old one first: %v", step, len(o.AttestationKeys), first)
		}
	}
}

// A store of a version without the attestation service opens, and gets its key once.
func TestComplete(t *testing.T) {
	s := newSite(t)
	o := s.open(t)
	without := *o.ring
	without.Attestation = nil
	if _, err := o.replace(t.Context(), record("x"), &without, "test", "older"); err != nil {
		t.Fatal(err)
	}
	o = reopened(t, s, o)
	if len(o.AttestationKeys) != 0 {
		t.Fatal("the key is still there")
	}
	if err := o.Rotate(t.Context(), record("x"), KindAttestation, StepAnnounce); release.ReasonOf(err) != release.ReasonConflict {
		t.Errorf("rotates what is not there: %v", err)
	}
	size := o.log.Size()
	base := func() *release.Record { return record("x") }
	for range 2 {
		if err := o.Complete(t.Context(), base); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.AttestationKeys) != 1 || o.log.Size() != size+1 {
		t.Fatalf("%d keys in %d records", len(o.AttestationKeys), o.log.Size()-size)
	}
	made := o.AttestationKeys[0]
	o = reopened(t, s, o)
	if len(o.AttestationKeys) != 1 || !o.AttestationKeys[0].Key.Equal(made.Key) {
		t.Error("another key after the next start")
	}
}

// Key and certificate of two pairs are refused, and the key rests sealed.
func TestAttestationKeyAtRest(t *testing.T) {
	s := newSite(t)
	o := s.open(t)
	a, err := newCertified("a", start)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newCertified("b", start)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := certifieds([]authority{{Cert: a.Cert, Key: b.Key}}); err == nil {
		t.Error("opens a key under another's certificate")
	}
	if _, err := certifieds([]authority{{Cert: a.Cert, Key: a.Key[1:]}}); err == nil {
		t.Error("opens a broken key")
	}
	der := o.ring.Attestation[0].Key
	if err := o.close(); err != nil {
		t.Fatal(err)
	}
	st, err := sqlite.Open(t.Context(), s.database(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	sealed, err := st.Secret(t.Context(), secretKeys)
	if err != nil || bytes.Contains(sealed, der[len(der)-64:]) {
		t.Errorf("not sealed: %v", err)
	}
}
