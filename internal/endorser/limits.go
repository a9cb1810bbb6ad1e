package endorser

import (
	"sync"
	"time"
)

// How long a host is left alone after it failed: the first time, and at most. What it
// asks for itself (Retry-After) is honoured up to maxRetryAfter.
const (
	firstBackoff  = 5 * time.Second
	maxBackoff    = 5 * time.Minute
	maxRetryAfter = time.Hour
)

// breaker keeps us from hosts that fail: it opens at the first failure, then lets
// one request through at a time until one succeeds.
type breaker struct {
	mu    sync.Mutex
	hosts map[string]*health
}

type health struct {
	fails   int
	until   time.Time
	probing bool
}

func newBreaker() *breaker { return &breaker{hosts: map[string]*health{}} }

// enter says whether host may be asked now. Then leave must follow.
func (b *breaker) enter(host string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.hosts[host]
	if h == nil {
		h = &health{}
		b.hosts[host] = h
	}
	if now.Before(h.until) || h.fails > 0 && h.probing {
		return false
	}
	h.probing = true
	return true
}

// leave reports how it went. retry is what the host asked for, 0 for nothing.
func (b *breaker) leave(host string, now time.Time, failed bool, retry time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.hosts[host]
	h.probing = false
	if !failed {
		h.fails = 0
		return
	}
	wait := min(firstBackoff<<min(h.fails, 10), maxBackoff)
	h.fails++
	if until := now.Add(max(wait, min(retry, maxRetryAfter))); until.After(h.until) {
		h.until = until
	}
}

// bucket lets n events through a minute, all at once if need be.
type bucket struct {
	mu    sync.Mutex
	n     float64
	level float64
	last  time.Time
}

func newBucket(n int) *bucket { return &bucket{n: float64(n), level: float64(n)} }

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if passed := now.Sub(b.last); passed > 0 {
		b.level = min(b.n, b.level+passed.Minutes()*b.n)
		b.last = now
	}
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}
