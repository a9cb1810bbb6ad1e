package verified

import (
	"crypto/x509"
	"testing"
	"time"
)

func TestCacheForgetsTheOldest(t *testing.T) {
	c := NewCache[int](2)
	key := func(s string) [32]byte { return Key([]byte(s)) }
	never := time.Time{}
	c.Put(key("a"), 1, never, never)
	c.Put(key("b"), 2, never, never)
	if _, ok := c.Get(key("a"), time.Now()); !ok { // a is now the younger one
		t.Fatal("a is gone")
	}
	c.Put(key("c"), 3, never, never)
	if _, ok := c.Get(key("b"), never); ok {
		t.Error("b is still there")
	}
	c.Put(key("a"), 4, never, never) // and younger again, without having been asked for
	c.Put(key("d"), 5, never, never)
	if v, ok := c.Get(key("a"), never); !ok || v != 4 {
		t.Error("a is gone")
	}
	if len(c.items) != 2 || c.order.Len() != 2 {
		t.Errorf("%d items, %d in order", len(c.items), c.order.Len())
	}
}

// TestCacheWeighs: the sum of what is kept stays within its bound, whatever is put in the
// place of what.
func TestCacheWeighs(t *testing.T) {
	c := NewWeighed(4, 10, func(v int) int { return v })
	key := func(n int) [32]byte { return Key([]byte{byte(n)}) }
	for step, s := range []struct {
		put, weight int
		left        []int
	}{
		{1, 4, []int{1}},
		{2, 4, []int{1, 2}},
		{3, 3, []int{2, 3}},
		{2, 7, []int{2, 3}},    // heavier than before, and just room for both
		{4, 0, []int{2, 3, 4}}, // nothing weighs nothing
		{2, 8, []int{2, 4}},    // and room for one no more; 4 is younger than 3
		{5, 0, []int{2, 4, 5}},
		{6, 0, []int{2, 4, 5, 6}},
		{7, 0, []int{2, 5, 6, 7}}, // the number is bounded too
		{8, 10, []int{5, 6, 7, 8}},
		{9, 11, nil}, // what is too heavy is not kept
		{1, 10, []int{1}},
	} {
		c.Put(key(s.put), s.weight, time.Time{}, time.Time{})
		var sum int
		for e := c.order.Front(); e != nil; e = e.Next() {
			sum += e.Value.(*item[int]).weight
		}
		if sum != c.held || sum > 10 || len(c.items) != len(s.left) || c.order.Len() != len(s.left) {
			t.Fatalf("step %d: %d items, %d in order, of %d, counted as %d", step, len(c.items), c.order.Len(), sum, c.held)
		}
		for _, n := range s.left {
			if c.items[key(n)] == nil {
				t.Errorf("step %d: %d is gone", step, n)
			}
		}
	}
}

func TestCacheEnds(t *testing.T) {
	c := NewCache[int](2)
	from := time.Unix(1000, 0)
	end := time.Unix(2000, 0)
	k := Key([]byte("a"), []byte("b"))
	c.Put(k, 1, from, end)
	for at, want := range map[int64]bool{999: false, 1000: true, 2000: true, 2001: false} {
		if _, ok := c.Get(k, time.Unix(at, 0)); ok != want {
			t.Errorf("at %d: %v", at, ok)
		}
	}
	c.Put(k, 2, from, time.Unix(3000, 0)) // a newer check of the same content
	if v, ok := c.Get(k, time.Unix(2500, 0)); !ok || v != 2 {
		t.Errorf("%d %v", v, ok)
	}
}

func TestKeySeparatesParts(t *testing.T) {
	if Key([]byte("ab"), []byte("c")) == Key([]byte("a"), []byte("bc")) {
		t.Error("two splits of one text have one key")
	}
	framed := []byte("\x00\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x01b")
	if Key(framed) == Key([]byte("a"), []byte("b")) {
		t.Error("one part that reads like two has the key of the two")
	}
}

func TestPeriod(t *testing.T) {
	cert := func(from, end int64) *x509.Certificate {
		return &x509.Certificate{NotBefore: time.Unix(from, 0), NotAfter: time.Unix(end, 0)}
	}
	from, end := Period(cert(1, 9), cert(2, 8), cert(0, 10))
	if from.Unix() != 2 || end.Unix() != 8 {
		t.Errorf("%v to %v", from, end)
	}
}
