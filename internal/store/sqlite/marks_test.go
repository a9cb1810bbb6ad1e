package sqlite

import (
	"context"
	"database/sql"
	"testing"

	"github.com/openskr/openskr/internal/store"
	"github.com/openskr/openskr/release/keyvault"
)

// TestForeign: a commit of somebody else is noticed at the next transaction, and nothing
// that was read before it is believed after; our own commits and checkpoints are none.
func TestForeign(t *testing.T) {
	ctx := t.Context()
	path := fresh(t)
	s := mustOpen(t, path)
	w, err := s.Writer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	commit := func() {
		t.Helper()
		tx, err := w.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	mark := func() int64 { return s.Mark("v", keyvault.Keys, "k") }
	commit() // what was there before it counts as new once
	before := mark()
	put := func(name string) {
		t.Helper()
		tx, err := w.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.PutSecret(name, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	put("a")
	if _, err := s.Checkpoint(ctx, false); err != nil {
		t.Fatal(err)
	}
	put("b")
	commit()
	if got := mark(); got != before || s.Foreign() != 0 {
		t.Errorf("our own: mark %d, was %d; %d commits of others", got, before, s.Foreign())
	}
	if _, err := s.Checkpoint(ctx, true); err != nil {
		t.Fatal(err)
	}
	commit()
	if s.Foreign() != 0 {
		t.Error("our own forced checkpoint counts as a commit of somebody else")
	}
	before = mark()
	edit(t, path, `INSERT INTO secrets (name, value) VALUES ('theirs', x'00')`)
	commit()
	if got := mark(); got == before || s.Foreign() != 1 {
		t.Errorf("somebody else wrote: mark %d, was %d; %d commits of others", got, before, s.Foreign())
	}
}

// TestMarkWithoutWatch: where others may write at any time, no mark stays.
func TestMarkWithoutWatch(t *testing.T) {
	s := store.New(store.Backend{})
	rows, objects := [2]int64{}, [2]int64{}
	for i := range rows {
		rows[i], objects[i] = s.Mark("v", keyvault.Keys, "k"), s.ObjectMark("machine", "m")
	}
	if rows[0] == rows[1] || objects[0] == objects[1] {
		t.Error("a mark stayed")
	}
}

func edit(t *testing.T, path, query string) {
	t.Helper()
	db := sql.OpenDB(connector{dsn: dsn(path, "rw", "busy_timeout(5000)")})
	defer db.Close()
	if _, err := db.ExecContext(context.Background(), query); err != nil {
		t.Fatal(err)
	}
}
