package audit

import (
	"testing"

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
