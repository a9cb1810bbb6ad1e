package release_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
	rt "github.com/openskr/openskr/release/releasetest"
)

// TestHardwareNeedsNoEnrolment: a TEE proves itself; a machine that is only a TPM
// must have a row.
func TestHardwareNeedsNoEnrolment(t *testing.T) {
	p := rt.NewPorts()
	p.Result.Type = attest.TypeSNP
	p.Fail[rt.CallMachine] = release.Refuse(release.ReasonMachineUnknown, "no row")
	if _, err := run(t, p, rt.Request(rt.RuntimeData(nil))); err != nil {
		t.Fatal(err)
	}
	if in := string(p.Inputs[0]); strings.Contains(in, `"machine":`) {
		t.Errorf("an unlisted machine is in the input: %s", in)
	}
	p = rt.NewPorts()
	p.Result.Type = attest.TypeSNP
	if _, err := run(t, p, rt.Request(rt.RuntimeData(nil))); err != nil {
		t.Fatal(err)
	}
	if in := string(p.Inputs[0]); !strings.Contains(in, `"machine":{"labels":{"site":"a"},"enrolled":true}`) {
		t.Errorf("a listed machine is not in the input: %s", in)
	}
	p = rt.NewPorts()
	p.Result.Type = attest.TypeSNP
	p.Fail[rt.CallMachine] = release.Refuse(release.ReasonIntegrity, "edited row")
	if _, err := run(t, p, rt.Request(rt.RuntimeData(nil))); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("a row that cannot be read: %v", err)
	}
}

func sum(b []byte) receipt.Digest { return sha256.Sum256(b) }
