package audit

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// TestDiskFails has every write beyond the present end of the write-ahead
// log fail, as a failing disk does (SQLite: SQLITE_IOERR_WRITE).
func TestDiskFails(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	b.append(b.allow(k, m))
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(b.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	b.outage(k, m,
		func() error {
			return unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(fi.Size()), Max: old.Max})
		},
		func() error { return unix.Setrlimit(unix.RLIMIT_FSIZE, &old) })
}

// TestDiskFull fills a small file system (needs the right to mount one).
func TestDiskFull(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m,mode=0700"); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	b := &bench{t: t, path: filepath.Join(dir, "openskr.db")}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) }) // after the store is closed
	b.now.Store(1_790_000_000_000)
	b.open()
	b.genesis()
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	ballast := filepath.Join(dir, "ballast")
	b.outage(k, m,
		func() error {
			f, err := os.Create(ballast)
			if err != nil {
				return err
			}
			for buf := make([]byte, 1024); err == nil; {
				_, err = f.Write(buf)
			}
			return f.Close()
		},
		func() error { return os.Remove(ballast) })
}

// outage breaks the disk, sees that nothing is acknowledged and nothing half
// written, repairs the disk and sees that service resumes by itself.
func (b *bench) outage(k *release.Key, m *release.Machine, fail, repair func() error) {
	t := b.t
	t.Helper()
	before := b.log.Size()
	if err := fail(); err != nil {
		t.Fatal(err)
	}
	entries := make([]release.Entry, 32)
	acked, refused := 0, 0
	for range 4 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range entries {
			entries[i] = b.allow(k, m)
			wg.Go(func() {
				c, err := b.log.Append(context.Background(), entries[i])
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					acked++
					_ = c
					return
				}
				refused++
				if release.ReasonOf(err) != release.ReasonLogUnavailable {
					t.Errorf("refused with %v", err)
				}
			})
		}
		wg.Wait()
	}
	if refused == 0 {
		t.Error("the disk did not fail: the test tests nothing")
	}
	if got := b.log.Size(); got != before+int64(acked) {
		t.Errorf("%d entries after %d acknowledged", got-before, acked)
	}
	if _, err := b.log.Keys().Row(context.Background(), "v", keyvault.Keys, "disk", ""); err != nil {
		t.Errorf("metadata is not readable meanwhile: %v", err)
	}
	if _, err := b.log.Append(context.Background(), b.allow(k, m)); err != nil && b.log.Trouble() == nil {
		t.Error("the log does not say that it cannot be written: the broker would call itself ready")
	}
	if err := repair(); err != nil {
		t.Fatal(err)
	}
	c := b.append(entries[0]) // its nonce was not spent by the refusal, or it was acknowledged
	if acked == 0 && c.Record.Decision != receipt.Allow {
		t.Errorf("after the repair: %s %s", c.Record.Decision, c.Record.Reason)
	}
	if err := b.check(nil); err != nil && acked == 0 {
		t.Error(err)
	}
	if err := b.log.Trouble(); err != nil {
		t.Errorf("still in trouble after a commit: %v", err)
	}
}
