// Package verified keeps what a verifier has checked once, keyed by the hash of its
// content, until it ends: certificates, collateral, parsed keys. It never holds
// nonces, decisions or secrets. A cache belongs to one verifier and so to one set of
// roots.
package verified

import (
	"container/list"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"sync"
	"time"
)

// Key is the hash of everything that a check read, each part with its length.
func Key(parts ...[]byte) (key [32]byte) {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(key[:0], uint64(len(p))))
		h.Write(p)
	}
	h.Sum(key[:0])
	return key
}

// Period is when all of certs, at least one, are valid: how long a Cache may keep what
// rests on them.
func Period(certs ...*x509.Certificate) (from, end time.Time) {
	from, end = certs[0].NotBefore, certs[0].NotAfter
	for _, c := range certs[1:] {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return from, end
}

// Cache keeps the most recently used values. It is safe for concurrent use.
type Cache[V any] struct {
	mu    sync.Mutex
	max   int
	bytes int           // 0: however many
	weigh func(v V) int // of what counts towards bytes
	order *list.List    // of *item[V], most recently used first
	items map[[32]byte]*list.Element
	held  int // bytes
}

type item[V any] struct {
	key       [32]byte
	value     V
	weight    int
	from, end time.Time // both zero: at all times
}

// NewCache keeps up to size values.
func NewCache[V any](size int) *Cache[V] {
	return &Cache[V]{max: size, order: list.New(), items: map[[32]byte]*list.Element{}}
}

// NewWeighed keeps up to size values, and so many that weigh says no more than bytes of
// all of them together. Values are weighed once, when they are put.
func NewWeighed[V any](size, bytes int, weigh func(v V) int) *Cache[V] {
	c := NewCache[V](size)
	c.bytes, c.weigh = bytes, weigh
	return c
}

// Get gives the value that was put under key, if it holds at the time of appraisal.
func (c *Cache[V]) Get(key [32]byte, at time.Time) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[key]
	if !ok {
		return v, false
	}
	it := e.Value.(*item[V])
	if !it.end.IsZero() && (at.Before(it.from) || at.After(it.end)) {
		return v, false
	}
	c.order.MoveToFront(e)
	return it.value, true
}

// Put keeps v, which holds from one time to another; both zero: at all times.
func (c *Cache[V]) Put(key [32]byte, v V, from, end time.Time) {
	it := &item[V]{key: key, value: v, from: from, end: end}
	if c.weigh != nil {
		it.weight = c.weigh(v)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[key]; ok {
		c.held -= e.Value.(*item[V]).weight
		e.Value = it
		c.order.MoveToFront(e)
	} else {
		c.items[key] = c.order.PushFront(it)
	}
	c.held += it.weight
	for len(c.items) > c.max || c.bytes > 0 && c.held > c.bytes {
		last := c.order.Remove(c.order.Back()).(*item[V])
		c.held -= last.weight
		delete(c.items, last.key)
	}
}
