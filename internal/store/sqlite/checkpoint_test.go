package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"
)

// TestCheckpointLength: the write-ahead log grows as long as somebody reads what is in
// it, and begins anew with the first commit after a checkpoint that came to its end.
func TestCheckpointLength(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "openskr.db")
	s, err := Open(t.Context(), path, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w, err := s.Writer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	next := int64(0)
	write := func() {
		t.Helper()
		tx, err := w.Begin()
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if err := tx.PutLeaf(next, fmt.Appendf(nil, "%04000d", next)); err != nil {
				t.Fatal(err)
			}
			next++
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	length := func() int64 {
		t.Helper()
		n, err := s.Checkpoint(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	write()
	one := length()
	write()
	if n := length(); one < 20*4000 || n > one+one/2 {
		t.Errorf("%d bytes, then %d, with nobody in the way", one, n)
	}
	for _, err := range s.Leaves(t.Context(), 0, next) { // the reader's state ends here
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			write()
			length()
		}
		if n := length(); n < 4*20*4000 {
			t.Errorf("%d bytes beside a reader", n)
		}
		break
	}
	length()
	write()
	if n := length(); n > one+one/2 {
		t.Errorf("%d bytes when the reader had gone", n)
	}
}
