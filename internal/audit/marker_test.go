package audit

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/release"
)

// TestMarkerKeepsPace: one write for many commits, never more than markRest behind, and
// the last one at the stop.
func TestMarkerKeepsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.close()
		if err := WriteMark(b.mark(), b.log.Checkpoint()); err != nil {
			t.Fatal(err)
		}
		var writes atomic.Int64
		b.open(b.marking, func(c *Config) { c.Marked = func(error) { writes.Add(1) } })
		b.some(200) // in no time
		if n := writes.Load(); n > 2 {
			t.Errorf("%d writes for commits within one rest", n)
		}
		time.Sleep(2 * markRest)
		synctest.Wait()
		b.wantMark(b.log.Checkpoint())
		if n, d := b.log.MarkLag(); n != 0 || d != 0 {
			t.Errorf("behind by %d entries for %v", n, d)
		}
		b.some(1)
		b.close()
		b.wantMark(b.log.Checkpoint())
	})
}

// TestMarkNotWritten: the log goes on, says how far the mark is behind, and catches up
// by itself.
func TestMarkNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.close()
		if err := WriteMark(b.mark(), b.log.Checkpoint()); err != nil {
			t.Fatal(err)
		}
		var last atomic.Pointer[error]
		b.open(b.marking, func(c *Config) { c.Marked = func(err error) { last.Store(&err) } })
		if err := os.Mkdir(b.mark()+".new", 0o700); err != nil { // where the next one is made
			t.Fatal(err)
		}
		b.some(3)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n, d := b.log.MarkLag(); n != 3 || d < 59*time.Second || d > time.Minute {
			t.Errorf("behind by %d entries for %v, want 3 and a minute", n, d)
		}
		if err := last.Load(); err == nil || *err == nil {
			t.Error("nobody is told")
		}
		if b.log.RaiseMark() == nil {
			t.Error("a start would take it for writable")
		}
		if err := os.Remove(b.mark() + ".new"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(markAgain)
		synctest.Wait()
		if n, _ := b.log.MarkLag(); n != 0 || *last.Load() != nil {
			t.Errorf("still behind by %d, %v", n, *last.Load())
		}
	})
}

// TestMarkIsNeverAhead: while a commit is not durable the mark does not have it.
func TestMarkIsNeverAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, hang := stall(t, "signed", func(*Config) {})
		before := b.log.Checkpoint()
		b.close()
		if err := WriteMark(b.mark(), before); err != nil {
			t.Fatal(err)
		}
		fault := b.log.cfg.Fault
		b.open(b.marking, func(c *Config) { c.Fault, c.Now = fault, time.Now })
		hung, resume := hang()
		go func() {
			_, _ = b.log.Change(context.Background(), &release.Record{}, func(Tx, int64) error { return nil })
		}()
		<-hung
		time.Sleep(10 * markRest)
		b.wantMark(before)
		resume()
		time.Sleep(markRest)
		synctest.Wait()
		b.wantMark(b.log.Checkpoint())
	})
}

// TestMarkReadOnly: a state that was only read, as after a kill, is not known to be
// durable. Its mark waits for the next commit.
func TestMarkReadOnly(t *testing.T) {
	b, _, at := marked(t)
	if err := WriteMark(b.mark(), at.Note); err != nil {
		t.Fatal(err)
	}
	b.open(b.marking)
	if n, _ := b.log.MarkLag(); n != 4 {
		t.Errorf("behind by %d, want 4", n)
	}
	if err := b.log.RaiseMark(); err != nil {
		t.Error(err)
	}
	b.close()
	b.wantMark(at.Note)
}

// TestMarkDiskHangs: the broker ends all the same.
func TestMarkDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarker("nowhere", 1, nil) // that nobody writes stands for a write that never returns
		start := time.Now()
		if err := m.close(); err == nil || time.Since(start) != markEnd {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
