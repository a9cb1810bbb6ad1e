package boot

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	agent "github.com/openskr/openskr/enclave-agent"
)

// BU-10: making a disk and opening one are asked for as what they are, and a broker that
// lets none be made leaves it as it was, with the command that an operator needs.
func TestBU10Purposes(t *testing.T) {
	r := newRig(t)
	r.vault.purposes = nil
	r.seal(t, Seal{Erase: true})
	if _, err := r.Unlock(t.Context(), "root", r.disk); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.vault.purposes, []string{"format", "unlock"}) {
		t.Errorf("asked for %q", r.vault.purposes)
	}
	before := r.bytes(t)
	r.vault.err = &agent.Refused{Status: 403, Code: "Forbidden", Reason: "format_not_granted", Correlation: "c-1"}
	for key, command := range map[string]string{testKey: "openskr key grant-format disk", testKID: "openskr key grant-format disk --version " + testVersion} {
		s := Seal{Device: r.disk.Device, Key: key, Erase: true}
		_, err := s.Seal(t.Context(), r.vault)
		var refused *agent.Refused
		if !errors.As(err, &refused) || !strings.HasSuffix(err.Error(), command) {
			t.Errorf("%v, want %s", err, command)
		}
	}
	if !bytes.Equal(before, r.bytes(t)) {
		t.Error("the disk was changed")
	}
}
