package api

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/release"
)

// TestGate: as many run as there are slots, in the order of arrival, and what
// does not fit is refused at once.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(2, 4)
		var mu sync.Mutex
		running, most := 0, 0
		var order []int
		for i := range 4 {
			go func() {
				_, leave, err := g.Enter(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				defer leave()
				mu.Lock()
				order = append(order, i)
				running++
				most = max(most, running)
				mu.Unlock()
				time.Sleep(time.Duration(i+1) * time.Second) // virtual; two that left at once would race for the list
				mu.Lock()
				running--
				mu.Unlock()
			}()
			synctest.Wait()
		}
		if _, _, err := g.Enter(t.Context()); release.ReasonOf(err) != release.ReasonOverloaded {
			t.Errorf("a fifth of four: %v", err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if most != 2 || g.Depth() != 0 {
			t.Errorf("%d ran at once, %d left inside", most, g.Depth())
		}
		for i, n := range order {
			if i != n {
				t.Errorf("order %v", order)
				break
			}
		}
	})
}

func TestGateAbandon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1, 10)
		_, leave, err := g.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, _, err := g.Enter(ctx)
			gone <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-gone; release.ReasonOf(err) != release.ReasonOverloaded || !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		leave()
		_, leave, err = g.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		leave()
		if g.Depth() != 0 || g.running != 0 {
			t.Errorf("%d inside, %d running", g.Depth(), g.running)
		}
	})
}

type slowLog struct {
	release.Log
	commit chan struct{}
}

func (l slowLog) Append(context.Context, release.Entry) (*release.Committed, error) {
	<-l.commit
	return nil, errDisk
}

// TestGateLog: who waits for the disk holds nobody up, and is not held up when
// the commit is there.
func TestGateLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1, 100)
		l := slowLog{commit: make(chan struct{})}
		log := g.Log(l)
		var wait sync.WaitGroup
		for range 20 {
			wait.Go(func() {
				ctx, leave, err := g.Enter(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				defer leave()
				if _, err := log.Append(context.WithoutCancel(ctx), release.Entry{}); !errors.Is(err, errDisk) {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // all twenty are at the log, through a gate of one
		close(l.commit)
		wait.Wait()
		if g.Depth() != 0 || g.running != 0 {
			t.Errorf("%d inside, %d running", g.Depth(), g.running)
		}
		if _, err := log.Append(t.Context(), release.Entry{}); !errors.Is(err, errDisk) || g.running != 0 {
			t.Errorf("outside of the gate: %v, %d running", err, g.running)
		}
	})
}

// TestOverload: a full queue answers 503 with Retry-After before the broker is asked.
func TestOverload(t *testing.T) {
	gate := NewGate(1, 1)
	h := newHarness(t, func(c *Config) { c.Gate = gate })
	_, leave, err := gate.Enter(t.Context())
	h.must(err)
	w := h.do(request{method: http.MethodPost, path: "/v1/release", body: releaseBody})
	h.want("full", w, http.StatusServiceUnavailable, release.ReasonOverloaded)
	if w.Header().Get("Retry-After") == "" || len(h.broker.requests) != 0 {
		t.Error("no Retry-After, or the broker was asked")
	}
	leave()
	h.ok("free again", h.do(request{method: http.MethodPost, path: "/v1/release", body: releaseBody}), nil)
}

// TestOutside: a request that waits for somebody else's server holds no slot.
func TestOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(1, 4)
		ctx, leave, err := g.Enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
		back := Outside(ctx)
		_, leaveToo, err := g.Enter(t.Context()) // would wait for ever for the one slot
		if err != nil {
			t.Fatal(err)
		}
		leaveToo()
		back()
		if g.running != 1 {
			t.Errorf("%d run", g.running)
		}
		Outside(t.Context())() // of no request: nothing to give away
	})
}
