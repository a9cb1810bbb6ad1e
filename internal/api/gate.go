package api

import (
	"context"
	"runtime"
	"sync"

	"github.com/openskr/openskr/release"
)

// Gate lets a bounded number of CPU-heavy requests run at once, in the order of
// their arrival, and refuses when too many wait: more of them at once would only
// make each slower. A request that waits for the disk does not count as running
// (see Log), or one durable commit could never carry many.
type Gate struct {
	slots, limit int

	mu      sync.Mutex
	running int
	inside  int // running, at the log or waiting
	queue   []chan struct{}
}

// NewGate makes a gate of slots running (0: one more than the processors) and at
// most limit inside (0: 1024).
func NewGate(slots, limit int) *Gate {
	if slots <= 0 {
		slots = runtime.GOMAXPROCS(0) + 1
	}
	if limit <= 0 {
		limit = 1024
	}
	return &Gate{slots: slots, limit: limit}
}

// Depth gives how many are inside, for metrics.
func (g *Gate) Depth() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inside
}

type gateKey struct{}

// Enter waits for a slot and gives the context to work under and the function
// that ends the stay. ReasonOverloaded when too many are inside or ctx ends first.
func (g *Gate) Enter(ctx context.Context) (context.Context, func(), error) {
	g.mu.Lock()
	if g.inside >= g.limit {
		g.mu.Unlock()
		return nil, nil, &release.Error{Reason: release.ReasonOverloaded, Retry: 1}
	}
	g.inside++
	if g.running < g.slots && len(g.queue) == 0 {
		g.running++
		g.mu.Unlock()
		return context.WithValue(ctx, gateKey{}, g), g.leave, nil
	}
	turn := make(chan struct{})
	g.queue = append(g.queue, turn)
	g.mu.Unlock()
	select {
	case <-turn:
		return context.WithValue(ctx, gateKey{}, g), g.leave, nil
	case <-ctx.Done():
		g.abandon(turn)
		return nil, nil, &release.Error{Reason: release.ReasonOverloaded, Err: ctx.Err(), Retry: 1}
	}
}

// abandon takes a waiter out; if its turn came meanwhile, it is passed on.
func (g *Gate) abandon(turn chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	for i, t := range g.queue {
		if t == turn {
			g.queue = append(g.queue[:i], g.queue[i+1:]...)
			return
		}
	}
	g.yield()
}

func (g *Gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.yield()
}

// yield gives up a slot to the next in line. g.mu is held.
func (g *Gate) yield() {
	g.running--
	for g.running < g.slots && len(g.queue) > 0 {
		close(g.queue[0])
		g.queue = g.queue[1:]
		g.running++
	}
}

// resume takes a slot back without waiting, above the bound if need be: work that
// is recorded is finished before new work begins, and cannot be starved by it.
func (g *Gate) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running++
}

// Log makes a log whose Append gives the slot of the request away while it waits
// for the durable commit.
func (g *Gate) Log(l release.Log) release.Log { return gatedLog{l} }

type gatedLog struct{ release.Log }

// Append implements release.Log.
func (l gatedLog) Append(ctx context.Context, e release.Entry) (*release.Committed, error) {
	defer Outside(ctx)()
	return l.Log.Append(ctx, e)
}

// Outside gives the slot of the request that ctx belongs to away while it waits for
// something that is no work of ours: a disk, an authority's server. The function
// returned takes one back.
func Outside(ctx context.Context) (back func()) {
	g, ok := ctx.Value(gateKey{}).(*Gate)
	if !ok {
		return func() {}
	}
	g.mu.Lock()
	g.yield()
	g.mu.Unlock()
	return g.resume
}
