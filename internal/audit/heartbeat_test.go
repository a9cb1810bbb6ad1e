package audit

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

func beating(c *Config) {
	c.Now = time.Now
	c.System = func(op string) *release.Record {
		return &release.Record{Kind: receipt.KindChange, Operation: op, Caller: &receipt.Caller{Kind: "system", ID: "broker"}}
	}
}

func (b *bench) last() *release.Record {
	b.t.Helper()
	entries, err := b.log.Entries(context.Background(), b.log.Size()-1, 1)
	if err != nil || len(entries) != 1 {
		b.t.Fatalf("%d entries, %v", len(entries), err)
	}
	r, err := receipt.Decode(entries[0].Leaf)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// TestHeartbeat: an idle broker's log goes on, so that its clock is believed after
// a restart, however long it was idle.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, beating)
		size := b.log.Size()
		pass := func(d time.Duration, want int64) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if got := b.log.Size() - size; got != want {
				t.Fatalf("%d entries, want %d", got, want)
			}
		}
		pass(heartbeat-time.Second, 0)
		b.key("disk", "1", 1)
		pass(heartbeat-time.Second, 1)
		pass(time.Second, 2)
		if r := b.last(); r.Operation != "broker/heartbeat" || r.Kind != receipt.KindChange || r.Caller.Kind != "system" || r.Time != time.Now().UnixMilli() {
			t.Errorf("record %+v", r)
		}
		pass(3*heartbeat, 5)
		pass(4*time.Minute, 5)
		b.close()
		time.Sleep(maxAhead)
		b.open(beating)
		if r := b.last(); r.Operation != "broker/stop" {
			t.Errorf("the last record is %+v", r)
		}
		if err := b.log.ClockCheck(time.Now(), time.Time{}); err != nil {
			t.Errorf("after a break of %v: %v", maxAhead, err)
		}
	})
}

// TestHeartbeatIsTriedAgain before the log is older than a restart may find it.
func TestHeartbeatIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, beating)
		size := b.log.Size()
		b.edit(`ALTER TABLE log_leaves RENAME TO away`)
		time.Sleep(heartbeat)
		synctest.Wait()
		b.edit(`ALTER TABLE away RENAME TO log_leaves`)
		time.Sleep(heartbeatAgain)
		synctest.Wait()
		if got := b.log.Size() - size; got == 0 || b.last().Operation != "broker/heartbeat" {
			t.Errorf("%d entries after the disk was repaired, the last of %s, want a heartbeat", got, b.last().Operation)
		}
	})
}

// TestHeartbeatOfADistrustedClock does not vouch for it.
func TestHeartbeatOfADistrustedClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, beating)
		last := b.last().Time
		b.close()
		time.Sleep(time.Hour)
		b.open(beating)
		stopped := b.last().Time
		if stopped != last || b.log.ClockCheck(time.Now(), time.Time{}) == nil {
			t.Fatalf("stopped at %d, last record at %d, and the clock is believed", stopped, last)
		}
		time.Sleep(heartbeat)
		synctest.Wait()
		if r := b.last(); r.Operation != "broker/heartbeat" || r.Time != stopped {
			t.Errorf("%s at %d, want a heartbeat at %d", r.Operation, r.Time, stopped)
		}
	})
}

// TestQuietWithoutSystem: tools that open a log leave no trace.
func TestQuietWithoutSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		size := b.log.Size()
		time.Sleep(2 * heartbeat)
		synctest.Wait()
		b.close()
		b.open()
		if b.log.Size() != size {
			t.Errorf("%d entries of the log's own", b.log.Size()-size)
		}
	})
}
