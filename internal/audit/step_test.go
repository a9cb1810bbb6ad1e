package audit

import (
	"context"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
)

// TestClockStepped: a clock that jumped ahead is believed, and destroys nothing by
// itself until somebody looked at it.
func TestClockStepped(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	stepped := func(what string, want bool) {
		t.Helper()
		err := b.log.ClockStepped()
		if (err != nil) != want || err != nil && release.ReasonOf(err) != release.ReasonClockUntrusted {
			t.Errorf("%s: %v", what, err)
		}
	}
	b.key("a", "1", 1)
	stepped("at first", false)
	b.now.Add(9 * time.Minute.Milliseconds())
	stepped("a quiet while", false)
	b.key("b", "1", 1)
	b.now.Add(11 * time.Minute.Milliseconds())
	stepped("before the first record after the jump", true)
	b.key("c", "1", 1)
	stepped("after it", true)
	b.now.Add(time.Minute.Milliseconds())
	b.key("d", "1", 1)
	stepped("and later", true)
	if err := b.log.ClockDistrusted(); err != nil {
		t.Errorf("releases are refused too: %v", err)
	}
	b.close()
	b.open()
	stepped("after a restart", true)
	if _, err := b.log.AcceptClock(ctx, &release.Record{}); err != nil {
		t.Fatal(err)
	}
	stepped("accepted", false)
	b.close()
	b.open()
	stepped("accepted, and restarted", false)
	b.now.Add(-time.Hour.Milliseconds())
	stepped("stepped back", true)
}

// TestInterrupted: a log that does not end with a stop is of a broker that was killed.
func TestInterrupted(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		op    string
		after int // records of others, behind it
		want  bool
	}{
		{"", 1, false}, // as init leaves it
		{"broker/start", 0, true},
		{"broker/heartbeat", 2, true},
		{"broker/stop", 0, false},
		{"deployment/rotate", 3, false},
		{"broker/start", lookBack + 1, true},
		{"broker/stop", 1, false},
	} {
		for i := range c.after + 1 {
			rec := &release.Record{Operation: "x"}
			if i == 0 {
				rec.Operation = c.op
			}
			if _, err := b.log.Change(context.Background(), rec, func(Tx, int64) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		b.close()
		b.open()
		if got := b.log.Interrupted(); got != c.want {
			t.Errorf("%d records after %q: %v", c.after, c.op, got)
		}
	}
}
