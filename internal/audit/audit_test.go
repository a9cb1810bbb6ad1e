package audit

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

func TestAppendGivesAReceipt(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	c := b.append(b.allow(k, m))
	rec, err := c.Receipt.Verify(origin, b.vkey)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Decision != receipt.Allow || rec.PrevObject != 2 || rec.Time != b.now.Load() {
		t.Errorf("record %+v", rec)
	}
	b.close()
	b.open()
	if got := b.log.Size(); got != 4 {
		t.Errorf("size %d after opening again, want 4", got)
	}
}

// TestOpenThatFails gives its connection back: the store has few for writing.
func TestOpenThatFails(t *testing.T) {
	b := newBench(t)
	if err := b.log.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // without one, the next waits for ever
	defer cancel()
	cfg := b.config()
	cfg.Mark = filepath.Join(t.TempDir(), "none")
	for range 4 {
		if l, err := Open(ctx, cfg); l != nil || release.ReasonOf(err) != release.ReasonRollback {
			t.Fatalf("%v, %v", l, err)
		}
	}
}
