package audit

import (
	"context"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// TestClockCheck is design D19, limit by limit.
// It is CC-20.
func TestClockCheck(t *testing.T) {
	b := newBench(t)
	last := time.UnixMilli(b.now.Load())
	long := last.Add(-24 * time.Hour)
	for _, c := range []struct {
		name       string
		now, build time.Time
		trusted    bool
	}{
		{"at the last record", last, long, true},
		{"10 minutes ahead", last.Add(10 * time.Minute), long, true},
		{"a little more", last.Add(10*time.Minute + time.Millisecond), long, false},
		{"before the last record", last.Add(-time.Millisecond), long, false},
		{"before the build", last, last.Add(time.Second), false},
		{"at the build", last, last, true},
	} {
		if err := b.log.ClockCheck(c.now, c.build); (err == nil) != c.trusted || err != nil && release.ReasonOf(err) != release.ReasonClockUntrusted {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestClockDistrusted is CC-20, and follows an operator: a clock far ahead, denials that do not
// move the log's time, acceptance, release.
func TestClockDistrusted(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	last := b.now.Load()
	b.close()
	b.now.Add(time.Hour.Milliseconds())
	b.open()
	if err := b.log.ClockCheck(time.UnixMilli(b.now.Load()), time.Time{}); err == nil {
		t.Fatal("an hour ahead is believed")
	}
	for range 2 {
		c := b.append(b.allow(k, m))
		if c.Record.Decision != receipt.Deny || c.Record.Reason != string(release.ReasonClockUntrusted) || c.Record.Time != last {
			t.Errorf("%s %s at %d, want clock_untrusted at %d", c.Record.Decision, c.Record.Reason, c.Record.Time, last)
		}
	}
	if err := b.log.ClockCheck(time.UnixMilli(b.now.Load()), time.Time{}); err == nil {
		t.Error("records of a distrusted clock vouch for it")
	}
	c, err := b.log.AcceptClock(context.Background(), &release.Record{Caller: &receipt.Caller{Kind: "system", ID: "cli"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Record.Time != b.now.Load() || c.Record.Operation != "clock/accept" {
		t.Errorf("acceptance %+v", c.Record)
	}
	if c := b.append(b.allow(k, m)); c.Record.Decision != receipt.Allow {
		t.Errorf("after acceptance: %s", c.Record.Reason)
	}
	if err := b.log.ClockCheck(time.UnixMilli(b.now.Load()), time.Time{}); err != nil {
		t.Errorf("after acceptance: %v", err)
	}
}

// TestClockStepsBack while running: records stay in order, a small step does not
// matter, a larger one stops releases until it is over.
func TestClockStepsBack(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	start := b.now.Load()
	for _, c := range []struct {
		back time.Duration
		want release.Reason
	}{
		{0, receipt.Allow},
		{time.Second, receipt.Allow},
		{time.Second + time.Millisecond, release.ReasonClockUntrusted},
		{time.Hour, release.ReasonClockUntrusted},
		{0, receipt.Allow},
	} {
		b.now.Store(start - c.back.Milliseconds())
		got := b.append(b.allow(k, m)).Record
		reason := got.Reason
		if got.Decision == receipt.Allow {
			reason = receipt.Allow
		}
		if reason != string(c.want) || got.Time != start {
			t.Errorf("%v back: %s at %d, want %s at %d", c.back, reason, got.Time, c.want, start)
		}
	}
}

// TestClockStepsBackAfterAcceptance: accepting a clock is not for ever.
func TestClockStepsBackAfterAcceptance(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	start := b.now.Load()
	accept := func() {
		t.Helper()
		if _, err := b.log.AcceptClock(context.Background(), &release.Record{}); err != nil {
			t.Fatal(err)
		}
	}
	// at sets the clock, minutes after the start.
	at := func(minutes int64, want string) {
		t.Helper()
		b.now.Store(start + minutes*time.Minute.Milliseconds())
		if err := b.log.ClockDistrusted(); (err != nil) != (want != receipt.Allow) || err != nil && string(release.ReasonOf(err)) != want {
			t.Errorf("at %d min: %v", minutes, err)
		}
		r := b.append(b.allow(k, m)).Record
		if r.Decision != want && r.Reason != want {
			t.Errorf("at %d min: %s %s, want %s", minutes, r.Decision, r.Reason, want)
		}
	}
	untrusted := string(release.ReasonClockUntrusted)
	accept()
	at(60, receipt.Allow)
	at(0, untrusted)
	accept() // below the last record: the new baseline
	at(0, receipt.Allow)
	at(-1, untrusted)
	at(5, receipt.Allow)
	at(4, untrusted)
	at(5, receipt.Allow)
}

// TestNonceOnce is FR-14: whatever clock is accepted, a nonce has one allow.
func TestNonceOnce(t *testing.T) {
	for _, restart := range []bool{false, true} {
		b := newBench(t)
		k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
		ctx, start := context.Background(), b.now.Load()
		// accept sets the clock and has it accepted.
		accept := func(after time.Duration) {
			t.Helper()
			b.now.Store(start + after.Milliseconds())
			if restart {
				b.close()
				b.open()
				_ = b.log.ClockCheck(time.UnixMilli(b.now.Load()), time.Time{}) // read from its denials
			}
			if _, err := b.log.AcceptClock(ctx, &release.Record{}); err != nil {
				t.Fatal(err)
			}
		}
		accept(0)
		e := b.allow(k, m)
		if c := b.append(e); c.Record.Decision != receipt.Allow {
			t.Fatal(c.Record.Reason)
		}
		accept(time.Hour)
		b.now.Add(2 * time.Minute.Milliseconds())
		b.append(b.allow(k, m)) // drops the nonce
		if spent, err := b.st.NonceSpent(ctx, e.Guard.Nonce); err != nil || spent {
			t.Fatalf("the nonce is not dropped, the test tests nothing: %v", err)
		}
		accept(time.Second)
		if c := b.append(e); c.Record.Reason != string(release.ReasonNonceReplayed) {
			t.Errorf("restart %v: the nonce again gave %s %s", restart, c.Record.Decision, c.Record.Reason)
		}
		for range 2 { // the log's time is ahead now, and drops none of these
			accept(2 * time.Second)
			if c := b.append(b.allow(k, m)); c.Record.Decision != receipt.Allow {
				t.Errorf("restart %v: a new nonce gave %s", restart, c.Record.Reason)
			}
		}
	}
}

// TestStepDropsNoNonce: a clock that steps forward alone proves nothing.
func TestStepDropsNoNonce(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	e := b.allow(k, m)
	b.append(e)
	for _, step := range []time.Duration{time.Hour, 2 * time.Minute} {
		b.now.Add(step.Milliseconds())
		b.append(b.allow(k, m))
		if spent, err := b.st.NonceSpent(context.Background(), e.Guard.Nonce); err != nil || !spent {
			t.Errorf("dropped after a step of %v: %v", step, err)
		}
	}
	b.now.Add(-time.Hour.Milliseconds())
	if c := b.append(e); c.Record.Decision == receipt.Allow {
		t.Error("two allows for one nonce")
	}
}

func TestNoncesArePurgedLate(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	e := b.allow(k, m) // expires after 2 minutes
	b.append(e)
	spent := func() bool {
		s, err := b.st.NonceSpent(context.Background(), e.Guard.Nonce)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for range 3 {
		b.now.Add((4 * time.Minute).Milliseconds())
		b.append(b.allow(k, m))
	}
	if !spent() {
		t.Error("forgotten within twice the clock difference after it expired")
	}
	b.now.Add((2 * time.Minute).Milliseconds())
	b.append(b.allow(k, m))
	if spent() {
		t.Error("kept for ever")
	}
}
