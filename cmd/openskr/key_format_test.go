package main

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/release"
)

// diskFor asks for a disk's key as openskr-agent does, for that purpose, "" for none, and
// gives the id that the machine has in the record.
func (r *teeRig) diskFor(t *testing.T, h agent.Hardware, key, purpose string) (id string, err error) {
	t.Helper()
	a, err := agent.New(t.Context(), agent.Config{Trust: &r.trust, Hardware: h, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ask := func() (*agent.Released, error) { return a.DiskKey(t.Context(), key, purpose) }
	if purpose == "" {
		ask = func() (*agent.Released, error) { return a.Key(t.Context(), key) }
	}
	got, err := ask()
	if err != nil {
		return "", err
	}
	return got.Record.Caller.ID, got.Material.Close()
}

// BU-10, with a broker and the operator's commands: the one machine that the policy
// allows makes a disk once for each grant, and opens it whenever it boots.
func TestBU10FormatGrants(t *testing.T) {
	r := newTEERig(t)
	h := r.machine(t, teeKinds()[0], simulate.Options{})
	policy := filepath.Join(t.TempDir(), "disk.rego")
	write(t, policy, []byte("package release\n\nallow if input.evidence.type == \""+attest.TypeSNP.Simulated()+"\"\n"))
	r.start(servedBroker{})
	defer func() { _ = r.stop(syscall.SIGTERM) }()
	r.operator(t, "key", "create", "disk", "--kty", "oct", "--size", "256", "--policy", policy)
	key := r.url + "/keys/disk"
	wants := func(when, purpose string, want release.Reason) string {
		t.Helper()
		id, err := r.diskFor(t, h, key, purpose)
		var refused *agent.Refused
		if want == "" && err != nil || want != "" && (!errors.As(err, &refused) || refused.Reason != string(want)) {
			t.Errorf("%s, purpose %q: %v, want %q", when, purpose, err, want)
		}
		return id
	}
	wants("before any grant", agent.ToFormat, release.ReasonFormatNotGranted)
	machine := wants("before any grant", "", "") // the key is no disk's yet

	for _, part := range []string{"another", machine[:8], machine[:len(machine)-1]} { // none of an enrolled machine
		code, _, stderr := call(t, "key", "grant-format", "disk", "--machine", part, "--credential", r.dir+".admin.json")
		if code != codeUsage || !strings.Contains(stderr, "no whole id") {
			t.Errorf("--machine %s: exit %d, %s", part, code, stderr)
		}
	}
	r.operator(t, "key", "grant-format", "disk", "--machine", strings.Repeat("0", 32))
	wants("granted to another", agent.ToFormat, release.ReasonFormatNotGranted)
	wants("granted", "", release.ReasonPurposeRequired)
	wants("granted", agent.ToUnlock, "")
	r.operator(t, "key", "grants", "--revoke", "disk")
	wants("revoked", agent.ToFormat, release.ReasonFormatNotGranted)
	if code, _, stderr := call(t, "key", "grants", "--revoke", "disk", "--credential", r.dir+".admin.json"); code != codeFailed || !strings.Contains(stderr, "no open grant") {
		t.Errorf("revoked twice: exit %d, %s", code, stderr)
	}
	r.operator(t, "machine", "label", machine, "role=web") // from now on it is in the list
	if out := r.operator(t, "key", "grant-format", "disk", "--machine", machine[:20]); !strings.Contains(out, machine) {
		t.Errorf("the beginning of a listed machine's id is not completed:\n%s", out)
	}
	r.operator(t, "key", "grants", "--revoke", "disk")

	out := r.operator(t, "key", "grant-format", "disk", "--machine", machine, "--for", "10m")
	for _, text := range []string{"disk", machine, "open"} {
		if !strings.Contains(out, text) {
			t.Errorf("%q is not in\n%s", text, out)
		}
	}
	wants("granted", agent.ToFormat, "")
	wants("spent", agent.ToFormat, release.ReasonFormatNotGranted)
	wants("spent", agent.ToUnlock, "")
	if out := r.operator(t, "key", "grants"); !strings.Contains(out, "spent by log entry ") {
		t.Errorf("the list does not say what came of it:\n%s", out)
	}
	if out := r.operator(t, "key", "show", "disk"); !strings.Contains(out, "tag "+release.TagLUKSOnly) {
		t.Errorf("the key is not marked:\n%s", out)
	}
}
