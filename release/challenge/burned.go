package challenge

import (
	"sync"
	"time"
)

// burned remembers presented nonces for at least life, in two generations: the
// older one is dropped as a whole, so nothing is ever searched for expired entries.
// A clock that steps back drops nothing.
type burned struct {
	life  time.Duration
	limit int

	mu            sync.Mutex
	since         time.Time // start of young
	young, former map[[16]byte]struct{}
}

type verdict int

const (
	firstSeen verdict = iota
	alreadyBurned
	full
)

// add looks id up, the random part of a nonce with a valid MAC, and remembers it if
// asked to.
func (b *burned) add(id [16]byte, now time.Time, remember bool) verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch age := now.Sub(b.since); {
	case b.young == nil || age >= 2*b.life:
		b.former, b.young, b.since = nil, map[[16]byte]struct{}{}, now
	case age >= b.life:
		b.former, b.young, b.since = b.young, map[[16]byte]struct{}{}, now
	}
	_, young := b.young[id]
	_, former := b.former[id]
	switch {
	case young || former:
		return alreadyBurned
	case !remember:
		return firstSeen
	case len(b.young)+len(b.former) >= b.limit:
		return full
	}
	b.young[id] = struct{}{}
	return firstSeen
}
