package audit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// stall makes a log whose next commit hangs at that step until resume is called.
func stall(t *testing.T, step string, edit ...func(*Config)) (b *bench, hang func() (hung <-chan struct{}, resume func())) {
	var mu sync.Mutex
	var begun, block chan struct{}
	b = newBench(t, append(edit, func(c *Config) {
		c.Now, c.Wait = time.Now, 2*time.Second
		c.Fault = func(s string) {
			mu.Lock()
			at, until := begun, block
			if s == step {
				begun = nil
			}
			mu.Unlock()
			if s == step && at != nil {
				close(at)
				<-until
			}
		}
	})...)
	return b, func() (<-chan struct{}, func()) {
		mu.Lock()
		defer mu.Unlock()
		begun, block = make(chan struct{}), make(chan struct{})
		until := block
		return begun, func() { close(until) }
	}
}

func (b *bench) allowed(k *release.Key, m *release.Machine) release.Entry {
	e := b.allow(k, m)
	e.Guard.NonceExpires = time.Now().Add(2 * time.Minute)
	return e
}

// TestHangingCommit (AU-02): whoever waits for a commit that hangs is refused in 2 s,
// who comes later at once; and when it lands after all, the next record says that
// nothing was given for it.
func TestHangingCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, hang := stall(t, "signed", func(c *Config) { c.MaxBatch, c.MaxQueue = 2, 4 })
		k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
		size := b.log.Size()
		hung, resume := hang()
		first := b.allowed(k, m)
		var wg sync.WaitGroup
		wg.Go(func() {
			start := time.Now()
			_, err := b.log.Append(context.Background(), first)
			if took := time.Since(start); release.ReasonOf(err) != release.ReasonLogUnavailable || took != 2*time.Second {
				t.Errorf("the one whose commit hangs: %v after %v", err, took)
			}
			var e *release.Error
			if !errors.As(err, &e) || e.Retry == 0 {
				t.Errorf("says not when to try again: %v", err)
			}
		})
		<-hung
		refused := map[release.Reason]int{}
		var mu sync.Mutex
		for range 8 {
			e := b.allowed(k, m)
			wg.Go(func() {
				_, err := b.log.Append(context.Background(), e)
				mu.Lock()
				defer mu.Unlock()
				refused[release.ReasonOf(err)]++
			})
		}
		wg.Wait()
		if refused[release.ReasonOverloaded] != 4 || refused[release.ReasonLogUnavailable] != 4 {
			t.Errorf("8 behind it, of which 4 may wait: %v", refused)
		}
		time.Sleep(time.Minute)
		start := time.Now()
		for range 10 * cap(b.log.queue) {
			if _, err := b.log.Append(context.Background(), b.allowed(k, m)); release.ReasonOf(err) != release.ReasonLogUnavailable {
				t.Fatalf("a minute later: %v", err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("those who come while it hangs wait for %v", took)
		}
		if b.log.Trouble() == nil {
			t.Error("the broker would call itself ready")
		}
		resume()
		synctest.Wait()
		if got := b.log.Size(); got != size+2 || b.log.Trouble() != nil {
			t.Fatalf("%d entries since, want the one that hung and what became of it; %v", got-size, b.log.Trouble())
		}
		b.wantAborted(size, first)
		if _, err := b.log.Append(context.Background(), first); err != nil {
			t.Fatal(err)
		}
		if r := b.last(); r.Reason != string(release.ReasonNonceReplayed) {
			t.Errorf("its nonce again: %s %s", r.Decision, r.Reason)
		}
		if err := VerifyCopy(context.Background(), b.path, origin, b.vkey, []byte(b.log.Checkpoint())); err != nil {
			t.Error(err)
		}
	})
}

// wantAborted wants the entry at index to be that allow, and the last one to say that
// it was aborted.
func (b *bench) wantAborted(index int64, e release.Entry) {
	b.t.Helper()
	entries, err := b.log.Entries(context.Background(), index, 1)
	if err != nil || len(entries) != 1 {
		b.t.Fatal(entries, err)
	}
	rec, err := receipt.Decode(entries[0].Leaf)
	if err != nil || rec.Correlation != e.Record.Correlation || rec.Decision != receipt.Allow {
		b.t.Fatalf("entry %d: %+v, %v", index, rec, err)
	}
	last := b.last()
	if last.Operation != "log/abort" || last.Detail["entry"] != strconv.FormatInt(index, 10) || last.Detail["outcome"] != "aborted" ||
		last.Correlation != rec.Correlation || last.ObjectID != rec.ObjectID || last.PrevObject != index+1 {
		b.t.Errorf("what follows entry %d: %+v", index, last)
	}
}

// TestRetryAfterAHang: the same request on the same token is answered once the disk is
// back, as design §3 says of SDKs that retry.
func TestRetryAfterAHang(t *testing.T) {
	for _, c := range []struct {
		hang time.Duration
		want release.Reason
	}{{30 * time.Second, ""}, {2 * time.Minute, release.ReasonTokenReplayed}} {
		synctest.Test(t, func(t *testing.T) {
			b, hang := stall(t, "signed")
			k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
			index := b.log.Size()
			e := b.allowed(k, m)
			e.Guard.Repeat = [32]byte{1}
			hung, resume := hang()
			_, err := b.log.Append(context.Background(), e)
			<-hung
			if release.ReasonOf(err) != release.ReasonLogUnavailable {
				t.Fatal(err)
			}
			time.Sleep(c.hang)
			resume()
			synctest.Wait()
			b.wantAborted(index, e)
			if done := b.append(e); done.Record.Reason != string(c.want) || c.want == "" && done.Record.RetryOf != index+1 {
				t.Errorf("after %v: %s %s, retry of %d", c.hang, done.Record.Decision, done.Record.Reason, done.Record.RetryOf)
			}
		})
	}
}

// TestAbortedOnlyWhatGives: a denial or a change is what its record says, whoever got
// to know.
func TestAbortedOnlyWhatGives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, hang := stall(t, "signed")
		k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
		size := b.log.Size()
		denied := b.allowed(k, m)
		denied.Record.Decision, denied.Record.Reason = receipt.Deny, string(release.ReasonPolicyDenied)
		for i, submit := range []func() error{
			func() error { _, err := b.log.Append(context.Background(), denied); return err },
			func() error {
				_, err := b.log.Change(context.Background(), &release.Record{Operation: "x"}, func(Tx, int64) error { return nil })
				return err
			},
		} {
			hung, resume := hang()
			if err := submit(); release.ReasonOf(err) != release.ReasonLogUnavailable {
				t.Errorf("%d: %v", i, err)
			}
			<-hung
			resume()
			synctest.Wait()
			if got := b.log.Size() - size; got != int64(i+1) {
				t.Errorf("%d: %d entries", i, got)
			}
		}
	})
}

// TestCommitOfUnknownFate: COMMIT says that it failed and did not. Nobody was given
// anything, and the log says so once it was read again.
func TestCommitOfUnknownFate(t *testing.T) {
	b := newBench(t)
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	index, e := b.log.Size(), b.allow(k, m)
	b.failAfterCommit(e)
	b.key("next", "1", 1)
	b.close()
	b.open()
	entries, err := b.log.Entries(context.Background(), index, 10)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%d entries, %v, want the allow, the next key and the abort", len(entries), err)
	}
	b.wantAborted(index, e)
}

// failAfterCommit appends e by a batch whose failure is told after its commit.
func (b *bench) failAfterCommit(e release.Entry) {
	b.t.Helper()
	l := b.log
	p := &pending{rec: e.Record, guard: e.Guard, input: e.Input, done: make(chan outcome, 1)}
	p.state.Store(taken)
	tx, err := l.begin()
	if err != nil {
		b.t.Fatal(err)
	}
	o := tx.apply(p)
	if err := errors.Join(o.err, tx.finish()); err != nil {
		b.t.Fatal(err)
	}
	l.answer([]*pending{p}, []outcome{o}, l.broken(errors.New("connection lost")))
	if o := <-p.done; release.ReasonOf(o.err) != release.ReasonLogUnavailable {
		b.t.Errorf("told %v", o.err)
	}
}

// TestReaderDoesNotStopCommits: somebody who reads the whole log for long, as an export
// does, keeps the write-ahead log from being emptied, and costs nobody a release.
func TestReaderDoesNotStopCommits(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Wait = 2 * time.Second })
	k, m := b.key("disk", "1", 1), b.machine("m", release.MachineApproved)
	for i := range 3 {
		b.append(b.allow(k, m))
		for _, err := range b.st.Leaves(context.Background(), 0, 2) { // a statement that is not finished
			if err != nil {
				t.Fatal(err)
			}
			b.log.unsafe.Store(true)
			b.append(b.allow(k, m))
			name := fmt.Sprint("gone-", i)
			row := keyRow(name, "1", 1)
			b.key(name, "1", 1)
			if _, err := b.log.Change(context.Background(), &release.Record{Operation: "keys/purge"}, func(tx Tx, _ int64) error { return tx.Remove(row) }); err != nil {
				t.Errorf("purged beside a reader: %v", err)
			}
			break
		}
	}
}
