package audit

import (
	"context"
	"time"

	"github.com/openskr/openskr/release/receipt"
)

// lookBack is how many entries are read at start for a jump of the clock that nobody
// accepted. A broker writes one every few minutes at least.
const lookBack = 256

// ClockStepped says why what a date alone destroys must wait: the clock is distrusted,
// or it moved further ahead than can have passed, since this log is never silent for
// that long. nil: go on. AcceptClock ends it.
func (l *Log) ClockStepped() error {
	if err := l.ClockDistrusted(); err != nil {
		return err
	}
	now, last := l.cfg.Now(), time.UnixMilli(l.signed.Load().last)
	if l.clock.stepped.Load() || now.Sub(last) > maxAhead {
		return untrusted(now, "it moved ahead by more than %v at once", maxAhead)
	}
	return nil
}

// Interrupted says that the broker before this start did not stop: it was killed, or
// lost its power. Of the last releases before it, nobody knows whether their answers
// were sent.
func (l *Log) Interrupted() bool { return l.interrupted }

// recallStep finds a jump from before this start, and how the broker before it ended.
// An acceptance is where a jump is expected, and ends those before it.
func (l *Log) recallStep(ctx context.Context) error {
	size := l.signed.Load().size
	l.interrupted = size > lookBack
	var before int64
	for e, err := range l.cfg.Store.Leaves(ctx, max(0, size-lookBack), size) {
		if err != nil {
			return unavailable("reading the log: %w", err)
		}
		rec, err := receipt.Decode(e.Leaf)
		if err != nil { // `openskr log verify` says what is wrong with it
			l.clock.stepped.Store(true)
			continue
		}
		switch {
		case rec.Operation == "clock/accept":
			l.clock.stepped.Store(false)
		case before > 0 && rec.Time-before > maxAhead.Milliseconds():
			l.clock.stepped.Store(true)
		}
		before = rec.Time
		switch {
		case rec.Operation == "broker/start" || rec.Operation == "broker/heartbeat":
			l.interrupted = true
		case rec.Operation == "broker/stop" || rec.Kind == receipt.KindGenesis:
			l.interrupted = false
		}
	}
	return nil
}
