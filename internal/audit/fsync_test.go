package audit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	sqlitedriver "modernc.org/sqlite"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release"
)

// dbFile connects to a database file without the store's settings.
type dbFile string

func (f dbFile) Connect(context.Context) (driver.Conn, error) {
	return f.Driver().Open("file:" + string(f))
}

func (dbFile) Driver() driver.Driver { return new(sqlitedriver.Driver) }

var errFsync = errors.New("fsync failed")

// onFailingDisk opens the log on its database with a checkpoint that can fail.
func (b *bench) onFailingDisk(checkpoint func(force bool) (int64, error), edit func(*Config)) {
	b.t.Helper()
	b.close()
	st := store.New(store.Backend{
		Write: sql.OpenDB(dbFile(b.path)), Read: sql.OpenDB(dbFile(b.path)), Begin: "BEGIN IMMEDIATE", Rebind: func(q string) string { return q },
		Checkpoint: func(_ context.Context, force bool) (int64, error) { return checkpoint(force) },
		Unsynced:   func(err error) bool { return errors.Is(err, errFsync) },
		Verify:     func(context.Context, *sql.Conn) error { return nil },
		Close:      func() error { return nil },
	})
	b.st = st
	cfg := b.config()
	edit(&cfg)
	l, err := Open(context.Background(), cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.log = l
	b.t.Cleanup(func() { _ = l.Close(); _ = st.Close() })
}

// TestNothingAfterAFailedFsync: what waited when the disk failed is refused.
func TestNothingAfterAFailedFsync(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	blocked, block := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.onFailingDisk(func(bool) (int64, error) { return 0, nil }, func(c *Config) {
		c.MaxBatch = 1
		c.Fault = func(step string) {
			if step == "committed" {
				once.Do(func() { close(blocked); <-block; b.log.judgeDisk(errFsync) })
			}
		}
	})
	size := b.log.Size()
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = b.log.Append(context.Background(), b.allow(k, m)) }) // its own commit was good
	<-blocked
	for range 3 {
		e := b.allow(k, m)
		wg.Go(func() {
			if _, err := b.log.Append(context.Background(), e); release.ReasonOf(err) != release.ReasonLogUnavailable {
				t.Errorf("after the failed fsync: %v", err)
			}
		})
	}
	for len(b.log.queue) < 3 {
		runtime.Gosched()
	}
	close(block)
	wg.Wait()
	if st, err := b.st.State(context.Background()); err != nil || st.Size != size+1 {
		t.Errorf("%d entries, %v, want one", st.Size-size, err)
	}
}

// TestCheckpointFailsToSync, beside the commits and while one waits for it.
func TestCheckpointFailsToSync(t *testing.T) {
	for _, awaited := range []bool{false, true} {
		b := newBench(t)
		k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
		b.onFailingDisk(func(bool) (int64, error) { return 0, errFsync }, func(*Config) {})
		if awaited {
			b.log.unsafe.Store(true)
			if _, err := b.log.Append(context.Background(), b.allow(k, m)); release.ReasonOf(err) != release.ReasonLogUnavailable {
				t.Errorf("committed after the failed fsync: %v", err)
			}
		} else {
			b.log.moved <- nil
		}
		select {
		case <-b.log.Failed():
		case <-t.Context().Done():
			t.Errorf("awaited %v: the program goes on", awaited)
		}
	}
}

// TestRelief: when the write-ahead log cannot begin anew and has grown, the next commit
// lets the checkpointer reach its end first. It does not wait for long.
func TestRelief(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	var mu sync.Mutex
	var order []string
	var hang chan struct{}
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	b.onFailingDisk(func(force bool) (int64, error) {
		note(fmt.Sprint("checkpoint ", force))
		mu.Lock()
		until := hang
		mu.Unlock()
		if until != nil {
			<-until
		}
		return maxWAL + 1, nil
	}, func(c *Config) {
		c.Fault = func(step string) {
			if step == "taken" {
				note("commit")
			}
		}
	})
	b.append(b.allow(k, m))
	b.log.moved <- nil
	for !b.log.unsafe.Load() {
		runtime.Gosched()
	}
	b.append(b.allow(k, m))
	b.append(b.allow(k, m))
	if want := []string{"commit", "checkpoint false", "checkpoint false", "checkpoint false", "commit", "commit"}; !slices.Equal(order, want) {
		t.Errorf("%v, want %v", order, want)
	}
	mu.Lock()
	hang = make(chan struct{})
	mu.Unlock()
	b.log.unsafe.Store(true)
	b.append(b.allow(k, m)) // beside a checkpoint that never ends
	close(hang)
}
