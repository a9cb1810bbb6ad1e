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

// TestObjectsFor: whoever lost its right while it asked changes nothing, also by a
// change that shares the commit.
func TestObjectsFor(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	put := func(o release.Objects, kind, name string) error {
		_, err := o.ChangeObject(ctx, &release.Record{Operation: "x"}, kind, name, func(*release.Object) ([]byte, error) { return []byte("{}"), nil })
		return err
	}
	right := []release.ObjectState{{Kind: release.ObjectPrincipal, Name: "p"}, {Kind: release.ObjectRoles, Name: "p", Generation: 1}}
	mine := b.log.ObjectsFor(func(context.Context) []release.ObjectState { return right })
	if err := put(b.log.Objects(), release.ObjectRoles, "p"); err != nil {
		t.Fatal(err)
	}
	if err := put(mine, release.ObjectSetting, "a"); err != nil {
		t.Fatalf("its right stands: %v", err)
	}
	if err := put(b.log.Objects(), release.ObjectRoles, "p"); err != nil {
		t.Fatal(err)
	}
	if err := put(mine, release.ObjectSetting, "b"); release.ReasonOf(err) != release.ReasonStateChanged {
		t.Errorf("its roles changed: %v", err)
	}
	right[1].Generation = 2
	if err := put(b.log.Objects(), release.ObjectPrincipal, "p"); err != nil {
		t.Fatal(err)
	}
	if err := put(mine, release.ObjectSetting, "b"); release.ReasonOf(err) != release.ReasonStateChanged {
		t.Errorf("it came into being: %v", err)
	}
	if _, err := b.log.Objects().Object(ctx, release.ObjectSetting, "b"); release.ReasonOf(err) != release.ReasonNotFound {
		t.Errorf("written all the same: %v", err)
	}
	right = nil
	if err := put(mine, release.ObjectSetting, "b"); err != nil {
		t.Errorf("the broker itself: %v", err)
	}
}
