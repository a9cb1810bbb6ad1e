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
