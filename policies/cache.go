package policies

import (
	"container/list"
	"sync"
)

// cacheKey is a policy: its bytes mean nothing without their type.
type cacheKey struct {
	contentType string
	digest      [32]byte
}

// cache keeps the most recently used programs by type and digest of their source. A
// refusal is kept too: a stored policy that does not compile is found out once.
// Two askers of one digest wait for one compilation.
type cache struct {
	mu      sync.Mutex
	limit   int
	entries map[cacheKey]*list.Element
	order   *list.List // of *prepared, most recently used first
}

type prepared struct {
	key     cacheKey
	once    sync.Once
	program *program
	err     error
}

func newCache(limit int) *cache {
	return &cache{limit: limit, entries: map[cacheKey]*list.Element{}, order: list.New()}
}

func (c *cache) get(key cacheKey, build func() (*program, error)) (*program, error) {
	p := c.entry(key)
	p.once.Do(func() { p.program, p.err = build() })
	return p.program, p.err
}

func (c *cache) entry(key cacheKey) *prepared {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*prepared)
	}
	p := &prepared{key: key}
	c.entries[key] = c.order.PushFront(p)
	if c.order.Len() > c.limit {
		last := c.order.Back()
		delete(c.entries, c.order.Remove(last).(*prepared).key)
	}
	return p
}
