package sqlite

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/store"
)

// Reads of one row are not watched by their context; whoever waits for a connection
// still waits no longer than that, and whoever was given up asks nothing.
func TestReadsEnd(t *testing.T) {
	s, err := Open(t.Context(), fresh(t), Options{Create: true, Readers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w, err := s.Writer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tx, err := w.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tx.PutLeaf(0, []byte("leaf")), tx.Commit(), w.Close()); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Object(over, "machine", "m"); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	n := 0
	for _, err := range s.Leaves(t.Context(), 0, 1) { // holds the one connection
		if err != nil {
			t.Fatal(err)
		}
		n++
		soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := s.Object(soon, "machine", "m"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no connection is free: %v", err)
		}
		cancel()
	}
	if n != 1 {
		t.Fatalf("%d leaves", n)
	}
	if _, err := s.Object(t.Context(), "machine", "m"); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}
