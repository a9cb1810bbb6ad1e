package audit

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// maxAhead is how far the clock may be ahead of the last record at start
// (design D19); slack is how far it may step back while running.
const (
	maxAhead = 10 * time.Minute
	slack    = time.Second
)

// clock says whether the time of day may be believed.
type clock struct {
	distrust atomic.Pointer[error] // found at start, until the operator accepts the clock
	// floor is the highest time that was believed, Unix ms: the last record's, or
	// that of an acceptance and whatever came after it. A clock below it stepped back.
	floor atomic.Int64
	// skipped is how far the log's time ran ahead of what is known to have passed,
	// in ms. Of the writing goroutine alone.
	skipped int64
	stepped atomic.Bool // skipped is not 0, for others
}

// ClockCheck judges the clock at start. When it is before the last record or the
// build date, or more than 10 minutes ahead of the last record, it says so in an
// error with clock_untrusted, and from then on every release becomes a denial with
// that reason until AcceptClock. Records written meanwhile carry the time of the
// record before them, so that a wrong clock cannot vouch for itself.
func (l *Log) ClockCheck(now, buildDate time.Time) error {
	err := l.judgeClock(now, buildDate)
	if err == nil {
		l.clock.distrust.Store(nil)
		return nil
	}
	l.clock.distrust.Store(&err)
	return err
}

func (l *Log) judgeClock(now, buildDate time.Time) error {
	s := l.signed.Load()
	last := time.UnixMilli(s.last)
	switch {
	case now.Before(buildDate):
		return untrusted(now, "before this program was built, %s", buildDate.UTC().Format(time.RFC3339))
	case s.size == 0:
		return nil
	case now.Before(last):
		return untrusted(now, "before the last record, %s", last.UTC().Format(time.RFC3339))
	case now.Sub(last) > maxAhead:
		return untrusted(now, "%v after the last record", now.Sub(last).Round(time.Second))
	}
	return nil
}

func untrusted(now time.Time, format string, args ...any) error {
	return release.Refuse(release.ReasonClockUntrusted, "the clock says %s, %w: check the clock, then run `openskr clock accept`",
		now.UTC().Format(time.RFC3339), fmt.Errorf(format, args...))
}

// ClockDistrusted says why releases are refused for the clock at this moment: for
// what ClockCheck found, or because it stepped back while running. nil: they are not.
func (l *Log) ClockDistrusted() error {
	if err := l.clock.distrust.Load(); err != nil {
		return *err
	}
	floor := l.clock.floor.Load() // before the clock is read: it only grows with it
	if now := l.cfg.Now(); l.clock.back(now.UnixMilli(), floor) {
		return untrusted(now, "it was %s before", time.UnixMilli(floor).UTC().Format(time.RFC3339))
	}
	return nil
}

// AcceptClock appends rec, with the present time, and believes the clock at that
// time: later steps back under it are noticed as before.
func (l *Log) AcceptClock(ctx context.Context, rec *release.Record) (*release.Committed, error) {
	rec.Kind, rec.Operation = receipt.KindChange, "clock/accept"
	return l.submit(ctx, &pending{rec: rec, accept: true, change: func(*store.Tx, int64) error { return nil }})
}

func (c *clock) back(now, floor int64) bool { return now < floor-slack.Milliseconds() }

// distrusted says whether releases are refused for the clock: since the start, or
// because it stepped back while running.
func (b *batch) distrusted() bool {
	c := &b.l.clock
	return c.distrust.Load() != nil || c.back(b.now, c.floor.Load())
}

// untimely says why, for the operator.
func (b *batch) untimely() error {
	if err := b.l.ClockDistrusted(); err != nil {
		return err
	}
	return untrusted(time.UnixMilli(b.now), "it was %s before", time.UnixMilli(b.l.clock.floor.Load()).UTC().Format(time.RFC3339))
}

// time is that of the next record: never smaller than the one before.
func (b *batch) time() int64 {
	if b.l.clock.distrust.Load() != nil && !b.accept && b.tree.Size() > 0 {
		return b.last
	}
	return max(b.now, b.last)
}

// believe moves what is known of the clock, after the commit of b.
func (b *batch) believe(last int64) {
	c := &b.l.clock
	switch {
	case b.accept:
		c.distrust.Store(nil)
		c.floor.Store(b.now)
		c.skipped = 0
		c.stepped.Store(false)
		return
	case c.distrust.Load() == nil:
		c.floor.Store(max(c.floor.Load(), b.now))
	}
	if step := b.jump(last); step > 0 {
		c.skipped += step
		c.stepped.Store(true)
	}
}

// jump is how far the log's time moves in b, in ms, when that is more than the
// heartbeats leave room for: then the clock stepped, and nothing is known to have
// passed.
func (b *batch) jump(last int64) int64 {
	if step := last - b.start; b.start > 0 && step > maxAhead.Milliseconds() {
		return step
	}
	return 0
}
