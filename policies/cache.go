package policies

import (
	"container/list"
	"sync"
)

// cache keeps the most recently used programs by the digest of their source. A
// refusal is kept too: a stored policy that does not compile is found out once.
// Two askers of one digest wait for one compilation.
type cache struct {
	mu      sync.Mutex
	limit   int
	entries map[[32]byte]*list.Element
	order   *list.List // of *prepared, most recently used first
}

type prepared struct {
	digest  [32]byte
	once    sync.Once
	program *program
	err     error
}

func newCache(limit int) *cache {
	return &cache{limit: limit, entries: map[[32]byte]*list.Element{}, order: list.New()}
}

func (c *cache) get(digest [32]byte, build func() (*program, error)) (*program, error) {
	p := c.entry(digest)
	p.once.Do(func() { p.program, p.err = build() })
	return p.program, p.err
}

func (c *cache) entry(digest [32]byte) *prepared {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[digest]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*prepared)
	}
	p := &prepared{digest: digest}
	c.entries[digest] = c.order.PushFront(p)
	if c.order.Len() > c.limit {
		last := c.order.Back()
		delete(c.entries, c.order.Remove(last).(*prepared).digest)
	}
	return p
}
