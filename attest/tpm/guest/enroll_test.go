package guest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest/tpm/format"
)

func TestEnrollment(t *testing.T) {
	_, g := start(t)
	for _, p := range ekProfiles() {
		var missing bool
		err := g.exclusive(t.Context(), func() error {
			e, err := g.tryEK(p)
			missing = errors.Is(err, tpm2.TPMRCHandle)
			if err == nil && e.loaded {
				g.flush(e.handle, &err)
			}
			return err
		})
		if missing {
			continue // swtpm has RSA-2048 (low) and P-384 (high)
		}
		if err != nil {
			t.Fatal(err)
		}
		g.ek = &p
		req, err := g.EnrollRequest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		secret := random(32)
		for name, c := range map[string]struct {
			ak string
			ok bool
		}{"right": {"", true}, "other AK": {"x", false}} {
			got, err := g.Activate(t.Context(), credential(t, req, secret, c.ak != ""))
			if ok := err == nil && bytes.Equal(got, secret); ok != c.ok {
				t.Errorf("EK %#x, %s: %v", uint32(p.cert), name, err)
			}
		}
	}
	g.ek = nil
	req, err := g.EnrollRequest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(req.EKCertificate) == 0 || req.EKCertificate[0] != 0x30 {
		t.Error("no EK certificate")
	}
}

// credential is what a broker does.
func credential(t *testing.T, req *format.EnrollRequest, secret []byte, otherName bool) *format.EnrollChallenge {
	t.Helper()
	ek, err := tpm2.Unmarshal[tpm2.TPMTPublic](req.EKPublic)
	if err != nil {
		t.Fatal(err)
	}
	ak, err := tpm2.Unmarshal[tpm2.TPMTPublic](req.AK)
	if err != nil {
		t.Fatal(err)
	}
	if otherName {
		ak.ObjectAttributes.NoDA = false
	}
	name, err := tpm2.ObjectName(ak)
	if err != nil {
		t.Fatal(err)
	}
	enc, err := tpm2.ImportEncapsulationKey(ek)
	if err != nil {
		t.Fatal(err)
	}
	id, sec, err := tpm2.CreateCredential(rand.Reader, enc, name.Buffer, secret)
	if err != nil {
		t.Fatal(err)
	}
	return &format.EnrollChallenge{Credential: id, Secret: sec}
}

// EKs that stand ready in the TPM are used; without them the template must give
// the certified key.
func TestEKTemplates(t *testing.T) {
	_, g := start(t)
	for _, p := range ekProfiles() {
		if _, err := g.nvRead(p.cert, maxCert); err != nil {
			continue
		}
		p.persistent = 0x81ffff00 // nothing there
		e, err := g.tryEK(p)
		if err != nil {
			t.Errorf("EK %#x: %v", uint32(p.cert), err)
			continue
		}
		g.flush(e.handle, &err)
	}
}

// PolicyB is PolicyOR of PolicyA and PolicyC; PolicyC is that of the specification.
func TestPolicyB(t *testing.T) {
	or := func(h crypto.Hash, branches ...string) string {
		w := h.New()
		w.Write(make([]byte, h.Size()))
		w.Write([]byte{0, 0, 0x01, 0x71}) // TPM_CC_PolicyOR
		for _, b := range branches {
			w.Write([]byte(b))
		}
		return string(w.Sum(nil))
	}
	policyC := "\x37\x67\xe2\xed\xd4\x3f\xf4\x5a\x3a\x7e\x1e\xae\xfc\xef\x78\x64\x3d\xca\x96\x46\x32\xe7\xaa\xd8\x2c\x67\x3a\x30\xd8\x63\x3f\xde"
	if or(crypto.SHA256, string(tpm2.RSAEKTemplate.AuthPolicy.Buffer), policyC) != policyB256 {
		t.Error("PolicyB of SHA-256 is wrong")
	}
}
