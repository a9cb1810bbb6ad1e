package tpm

import "testing"

func TestCacheForgetsTheOldest(t *testing.T) {
	c := newCache[int](2)
	key := func(s string) [32]byte { return contentKey([]byte(s)) }
	c.put(key("a"), 1)
	c.put(key("b"), 2)
	if _, ok := c.get(key("a")); !ok { // a is now the younger one
		t.Fatal("a is gone")
	}
	c.put(key("c"), 3)
	if _, ok := c.get(key("b")); ok {
		t.Error("b is still there")
	}
	if v, ok := c.get(key("a")); !ok || v != 1 {
		t.Error("a is gone")
	}
	if len(c.items) != 2 || c.order.Len() != 2 {
		t.Errorf("%d items, %d in order", len(c.items), c.order.Len())
	}
}
