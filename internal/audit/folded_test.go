package audit

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// foldedRecords gives the folded records of the log.
func (b *bench) foldedRecords() (out []*receipt.Record) {
	b.t.Helper()
	for _, leaf := range b.scratch() {
		r, err := receipt.Decode(leaf)
		if err != nil {
			b.t.Fatal(err)
		}
		if r.Kind == receipt.KindFolded {
			out = append(out, r)
		}
	}
	return out
}

func TestFoldedByMinuteSourceAndReason(t *testing.T) {
	b := newBench(t)
	minute := b.now.Load() / 60_000
	for i := range 5 {
		b.log.Refused(release.Refuse(release.ReasonNonceUnknown, "no"), "192.0.2.0/24", fmt.Sprint("c", i))
	}
	b.log.Refused(release.Refuse(release.ReasonNonceExpired, "no"), "192.0.2.0/24", "d")
	b.log.Refused(release.Refuse(release.ReasonNonceUnknown, "no"), "198.51.100.0/24", "e")
	if err := b.log.flush(context.Background(), false); err != nil {
		t.Fatal(err)
	}
	if got := b.foldedRecords(); len(got) != 0 {
		t.Fatalf("%d records before the minute was over", len(got))
	}
	b.now.Add(60_000)
	b.log.Refused(release.Refuse(release.ReasonNonceUnknown, "no"), "192.0.2.0/24", "f")
	if err := b.log.flush(context.Background(), false); err != nil {
		t.Fatal(err)
	}
	b.close() // writes what is left
	b.open()
	var got []string
	for _, r := range b.foldedRecords() {
		got = append(got, fmt.Sprintf("%d %s %s %d %s %s", r.Folded.Minute-minute, r.Folded.Source, r.Reason, r.Folded.Count, r.Correlation, r.Decision))
	}
	want := fmt.Sprint([]string{
		"0 192.0.2.0/24 nonce_expired 1 d deny", "0 192.0.2.0/24 nonce_unknown 5 c0 deny", "0 198.51.100.0/24 nonce_unknown 1 e deny",
		"1 192.0.2.0/24 nonce_unknown 1 f deny",
	})
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
}

// TestStrangersCannotFillTheLog sends refusals from everywhere: records are
// bounded, the count is right, memory is bounded.
func TestStrangersCannotFillTheLog(t *testing.T) {
	b := newBench(t)
	const n = 20_000
	for i := range n {
		b.log.Refused(release.Refuse(release.ReasonNonceUnknown, "no"), fmt.Sprintf("10.%d.%d.0/24", i/256, i%256), fmt.Sprint(i))
	}
	if got := len(b.log.Ring()); got != ringSize {
		t.Errorf("ring of %d", got)
	}
	if r := b.log.Ring(); r[0].Correlation != fmt.Sprint(n-ringSize) || r[ringSize-1].Correlation != fmt.Sprint(n-1) {
		t.Errorf("ring from %s to %s", r[0].Correlation, r[ringSize-1].Correlation)
	}
	b.close()
	b.open()
	var sum int64
	records := b.foldedRecords()
	for _, r := range records {
		sum += r.Folded.Count
	}
	if len(records) > maxFolds+1 || sum != n {
		t.Errorf("%d records count %d refusals, want at most %d and %d", len(records), sum, maxFolds+1, n)
	}
}

// TestFoldedSurvivesAnOutage keeps the counts of a flush that failed.
func TestFoldedSurvivesAnOutage(t *testing.T) {
	b := newBench(t)
	b.log.Refused(release.Refuse(release.ReasonNonceUnknown, "no"), "a", "1")
	b.log.Refused(release.Refuse(release.ReasonNonceUnknown, "no"), "b", "2")
	b.edit(`CREATE TRIGGER stop BEFORE INSERT ON log_leaves BEGIN SELECT RAISE(ABORT, 'no'); END`)
	if err := b.log.flush(context.Background(), true); release.ReasonOf(err) != release.ReasonLogUnavailable {
		t.Errorf("flush: %v", err)
	}
	b.log.Refused(release.Refuse(release.ReasonNonceUnknown, "no"), "a", "3")
	b.edit(`DROP TRIGGER stop`)
	b.close()
	b.open()
	got := b.foldedRecords()
	if len(got) != 2 || got[0].Folded.Count != 2 || got[0].Correlation != "1" || got[1].Folded.Count != 1 {
		t.Errorf("%+v", got)
	}
}

// TestFoldIsDueEveryMinute lets a minute pass.
func TestFoldIsDueEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Log{
			cfg:   Config{Now: time.Now, Wait: time.Second},
			queue: make(chan *pending, 1), stop: make(chan struct{}), failed: make(chan struct{}), folded: newFolder(),
		}
		l.Refused(release.Refuse(release.ReasonNonceUnknown, "no"), "a", "1")
		l.wait.Go(l.fold)
		start := time.Now()
		p := <-l.queue
		if d := time.Since(start); d > time.Minute || p.rec.Folded == nil || p.rec.Folded.Count != 1 {
			t.Errorf("after %v: %+v", d, p.rec)
		}
		p.done <- outcome{err: release.Refuse(release.ReasonInternal, "test")}
		close(l.stop)
		l.wait.Wait()
	})
}
