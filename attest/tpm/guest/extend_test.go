package guest

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"testing"
)

func TestExtend(t *testing.T) {
	_, g := start(t)
	event := []byte("an event")
	if err := g.Extend(t.Context(), 15, event); err != nil {
		t.Fatal(err)
	}
	for bank, newHash := range map[string]func() hash.Hash{"sha256": sha256.New, "sha384": sha512.New384} {
		s, err := g.snapshot(Selection{Bank: bank, PCRs: []int{14, 15}})
		if err != nil {
			t.Fatal(err)
		}
		h := newHash()
		h.Write(event)
		digest := h.Sum(nil)
		h.Reset()
		h.Write(make([]byte, len(digest)))
		h.Write(digest)
		if want := h.Sum(nil); !bytes.Equal(s.values[15], want) {
			t.Errorf("%s: PCR 15 is %x, want %x", bank, s.values[15], want)
		}
		if !bytes.Equal(s.values[14], make([]byte, len(digest))) {
			t.Errorf("%s: PCR 14 changed", bank)
		}
	}
	for _, n := range []int{-1, 0, 7, 16, 23, 24} {
		if g.Extend(t.Context(), n, event) == nil {
			t.Errorf("PCR %d was extended", n)
		}
	}
}
