package reference

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/releasetest"
)

// silent is a store that never says what became of a change.
type silent struct {
	*releasetest.Store
	asked atomic.Int32
}

func (s *silent) ChangeObject(context.Context, *release.Record, string, string, func(*release.Object) ([]byte, error)) (*release.Committed, error) {
	s.asked.Add(1)
	return nil, release.Refuse(release.ReasonLogUnavailable, "no answer in time")
}

// TestDoubtIsBounded: every evaluation reads again what is in doubt, so that there is an
// end to it. The batch itself may be tried again, and a value be retired.
func TestDoubtIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, releasetest.NewStore(), nil)
		r.add("web", Entry{Kind: "pcr4", Value: hex32})
		s := &silent{Store: r.store}
		r.cfg.Objects = s
		batch := make([]Entry, MaxBatch)
		for i := range batch {
			batch[i] = Entry{Kind: "pcr4", Value: fmt.Sprintf("%064x", i)}
		}
		one := []Entry{{Kind: "pcr7", Value: hex32}}
		for _, c := range []struct {
			name string
			do   func() error
			asks int32
		}{
			{"a batch", func() error { _, err := r.Add(t.Context(), "web", batch, false); return err }, MaxBatch},
			{"one more", func() error { _, err := r.Add(t.Context(), "web", one, false); return err }, 0},
			{"in another set", func() error { _, err := r.Add(t.Context(), "db", batch[:1], false); return err }, 0},
			{"the batch again", func() error { _, err := r.Add(t.Context(), "web", batch, false); return err }, MaxBatch},
			{"a retirement", func() error { _, err := r.Retire(t.Context(), "web", "pcr4", hex32, 0); return err }, 1},
		} {
			before := s.asked.Load()
			refused(t, c.name, c.do(), release.ReasonLogUnavailable)
			if n := s.asked.Load() - before; n != c.asks {
				t.Errorf("%s: the store was asked %d times, want %d", c.name, n, c.asks)
			}
		}
		r.cfg.Objects = r.store
		time.Sleep(settled + time.Second)
		r.at("web", "pcr4", hex32) // looks for the last time
		r.add("web", one...)
	})
}
