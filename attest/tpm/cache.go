package tpm

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// cacheSize bounds each cache by entries; an entry is a few kB.
const cacheSize = 4096

// contentKey is the key of every cache here: what was verified, whole. A cache
// never outlives its Verifier, and with it its set of roots.
func contentKey(b []byte) [32]byte { return sha256.Sum256(b) }

// cache keeps the most recently used results of pure functions of their input.
type cache[V any] struct {
	mu    sync.Mutex
	max   int
	order *list.List // of *item[V], most recently used first
	items map[[32]byte]*list.Element
}

type item[V any] struct {
	key   [32]byte
	value V
}

func newCache[V any](size int) *cache[V] {
	return &cache[V]{max: size, order: list.New(), items: map[[32]byte]*list.Element{}}
}

func (c *cache[V]) get(key [32]byte) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[key]
	if !ok {
		return v, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*item[V]).value, true
}

func (c *cache[V]) put(key [32]byte, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.items[key]; ok {
		return
	}
	c.items[key] = c.order.PushFront(&item[V]{key, v})
	for len(c.items) > c.max {
		last := c.order.Back()
		delete(c.items, last.Value.(*item[V]).key)
		c.order.Remove(last)
	}
}
