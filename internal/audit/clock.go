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
	distrust atomic.Bool // found at start
	accepted atomic.Bool // by the operator, until the program ends
}

func (c *clock) trust() {
	c.accepted.Store(true)
	c.distrust.Store(false)
}

// ClockCheck judges the clock at start. When it is before the last record or the
// build date, or more than 10 minutes ahead of the last record, it says so in an
// error with clock_untrusted, and from then on every release becomes a denial with
// that reason until AcceptClock. Records written meanwhile carry the time of the
// record before them, so that a wrong clock cannot vouch for itself.
func (l *Log) ClockCheck(now, buildDate time.Time) error {
	err := l.judgeClock(now, buildDate)
	l.clock.distrust.Store(err != nil)
	return err
}

func (l *Log) judgeClock(now, buildDate time.Time) error {
	const do = "check the clock, then run `openskr clock accept`"
	refuse := func(format string, args ...any) error {
		return release.Refuse(release.ReasonClockUntrusted, "the clock says %s, %w: %s", now.UTC().Format(time.RFC3339), fmt.Errorf(format, args...), do)
	}
	s := l.signed.Load()
	last := time.UnixMilli(s.last)
	switch {
	case now.Before(buildDate):
		return refuse("before this program was built, %s", buildDate.UTC().Format(time.RFC3339))
	case s.size == 0:
		return nil
	case now.Before(last):
		return refuse("before the last record, %s", last.UTC().Format(time.RFC3339))
	case now.Sub(last) > maxAhead:
		return refuse("%v after the last record", now.Sub(last).Round(time.Second))
	}
	return nil
}

// AcceptClock appends rec, with the present time, and believes the clock from
// then on.
func (l *Log) AcceptClock(ctx context.Context, rec *release.Record) (*release.Committed, error) {
	rec.Kind, rec.Operation = receipt.KindChange, "clock/accept"
	return l.submit(ctx, &pending{rec: rec, accept: true, change: func(*store.Tx, int64) error { return nil }})
}

// distrusted says whether releases are refused for the clock: since the start, or
// because it stepped back under the last record while running.
func (b *batch) distrusted() bool {
	c := &b.l.clock
	return c.distrust.Load() || !c.accepted.Load() && b.now < b.before.last-slack.Milliseconds()
}

// time is that of the next record: never smaller than the one before.
func (b *batch) time() int64 {
	if b.l.clock.distrust.Load() && !b.accept && b.tree.Size() > 0 {
		return b.last
	}
	return max(b.now, b.last)
}
