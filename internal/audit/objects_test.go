package audit

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// TestApprovedAnew: the highest reset count belongs to an approval.
func TestApprovedAnew(t *testing.T) {
	b := newBench(t)
	k := b.key("disk", "1", 1)
	set := func(status string, labels map[string]string) *release.Record {
		t.Helper()
		c, err := b.log.ChangeObject(context.Background(), &release.Record{Operation: "machines/x"}, release.ObjectMachine, "m",
			func(*release.Object) ([]byte, error) {
				return json.Marshal(release.Enrolled{Status: status, Labels: labels})
			})
		if err != nil {
			t.Fatal(err)
		}
		return c.Record
	}
	// at releases with a reset count and gives the reason, "" for an allow.
	at := func(count uint32) string {
		t.Helper()
		m, err := release.EnrolledMachines{Objects: b.log.Objects()}.Machine(context.Background(), "m")
		if err != nil {
			t.Fatal(err)
		}
		e := b.allow(k, m)
		e.Guard.ResetCount = count
		return b.append(e).Record.Reason
	}
	rollback := string(release.ReasonTPMRollback)
	if r := set(release.MachineApproved, nil); r.Detail != nil {
		t.Errorf("first approval forgot something: %v", r.Detail)
	}
	if got := at(7); got != "" {
		t.Error(got)
	}
	for _, c := range []struct {
		name   string
		status string
		labels map[string]string
		forgot string
		want   string // of a release with a count that began again
	}{
		{"labels", release.MachineApproved, map[string]string{"a": "b"}, "", rollback},
		{"approved while approved", release.MachineApproved, nil, "", rollback},
		{"denied", release.MachineDenied, nil, "", string(release.ReasonMachineDenied)},
		{"approved again", release.MachineApproved, nil, "forgotten", ""},
	} {
		if r := set(c.status, c.labels); r.Detail["reset_count"] != c.forgot {
			t.Errorf("%s: detail %v", c.name, r.Detail)
		}
		if got := at(0); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := at(2); got != "" {
		t.Error(got)
	}
	if got := at(1); got != rollback {
		t.Errorf("the new approval keeps no count: %q", got)
	}
	if b.last().Decision != receipt.Deny {
		t.Error("the refusal is not the last record")
	}
}
