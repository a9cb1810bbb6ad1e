package audit

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/attest/verified"
	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// TestRememberedInside: what this transaction wrote is judged as it wrote it, whatever
// is remembered from before; and is not remembered when it comes to nothing.
func TestRememberedInside(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	b.append(b.allow(k, m)) // reads, and remembers
	r, err := b.st.Row(ctx, "v", keyvault.Keys, "disk", "1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.log.change(ctx, &release.Record{}, func(tx *store.Tx, index int64) error {
		old, err := b.log.present(tx, release.ObjectMachine, "m")
		if err != nil || old == nil || old.Generation != m.Epoch {
			t.Errorf("before: %+v, %v", old, err)
		}
		if err := b.log.changeObject(tx, index, &release.Record{}, release.ObjectMachine, "m",
			func(o *release.Object) ([]byte, error) { return o.Value, nil }); err != nil {
			t.Error(err)
		}
		r.Attributes.Enabled, r.Generation = false, 2
		if err := tx.Update(r, 1); err != nil {
			t.Error(err)
		}
		now, err := b.log.present(tx, release.ObjectMachine, "m")
		if err != nil || now == nil || now.Generation != m.Epoch+1 {
			t.Errorf("the machine after its change: %+v, %v", now, err)
		}
		state, err := (&batch{l: b.log, tx: tx}).keyState(k)
		if err != nil || state.Generation != 2 || state.Attributes.Enabled {
			t.Errorf("the key after its change: %+v, %v", state, err)
		}
		return context.Canceled // take it all back
	})
	if err == nil {
		t.Fatal("the change was made")
	}
	if c := b.append(b.allow(k, m)); c.Record.Reason != "" {
		t.Errorf("after a change that was taken back: %s", c.Record.Reason)
	}
}

// TestRememberedBytes: large objects are remembered up to a sum, and read anew beyond it.
func TestRememberedBytes(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	const size, n = 1 << 20, keptBytes>>20 + 4
	name := func(i int) string { return fmt.Sprintf("p%02d", i) }
	for i := range n {
		value := append(make([]byte, size-1), byte(i))
		if _, err := b.log.ChangeObject(ctx, &release.Record{}, release.ObjectRoles, name(i), func(*release.Object) ([]byte, error) { return value, nil }); err != nil {
			t.Fatal(err)
		}
	}
	kept := 0
	for range 2 { // read, and remembered or not
		kept = 0
		for i := range n {
			o, err := b.log.Objects().Object(ctx, release.ObjectRoles, name(i))
			if err != nil || len(o.Value) != size || o.Value[size-1] != byte(i) {
				t.Fatal(i, err)
			}
		}
		for i := range n {
			if k, ok := b.log.objects.Get(verified.Key([]byte(release.ObjectRoles), []byte(name(i))), time.Time{}); ok && k.object != nil {
				kept += len(k.object.Value)
			}
		}
	}
	if kept > keptBytes || kept < keptBytes/2 {
		t.Errorf("%d bytes kept, want up to %d", kept, keptBytes)
	}
}

// TestForeignRecorded: that somebody else wrote to the database is noticed while nothing
// is asked for, and on record once.
func TestForeignRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := int64(0)
		b := newBench(t, beating, func(c *Config) { c.Intruded = func(n int64) { told += n } })
		b.machine("m", release.MachineApproved)
		b.edit(`UPDATE objects SET idx = idx + 1`)
		time.Sleep(3 * lookout)
		synctest.Wait()
		if r := b.last(); r.Operation != "store/foreign" {
			t.Errorf("the last record is of %s", r.Operation)
		}
		size := b.log.Size()
		time.Sleep(3 * lookout)
		synctest.Wait()
		if b.log.Size() != size {
			t.Errorf("%d more records", b.log.Size()-size)
		}
		if told != 1 {
			t.Errorf("told of %d commits, want 1", told)
		}
	})
}

// TestForeignWithoutConnection: while a commit of ours has failed and there is no other
// connection yet, nothing of ours hides that somebody else writes.
func TestForeignWithoutConnection(t *testing.T) {
	b := newBench(t)
	b.machine("m", release.MachineApproved)
	if err := b.log.Close(); err != nil { // its goroutine has ended: what follows is in its place
		t.Fatal(err)
	}
	begin := func() {
		t.Helper()
		var err error
		if b.log.w, err = b.st.Writer(t.Context()); err != nil {
			t.Fatal(err)
		}
		tx, err := b.log.w.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	_ = b.log.broken(context.Canceled)
	b.edit(`UPDATE objects SET idx = idx + 1`)
	b.log.shred = true
	b.log.scrub()
	begin()
	if n := b.st.Foreign(); n != 1 || !b.log.shred {
		t.Errorf("%d commits of others, want 1; what is left to scrub is forgotten: %v", n, !b.log.shred)
	}
	if err := b.log.w.Close(); err != nil {
		t.Fatal(err)
	}
}
