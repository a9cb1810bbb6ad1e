package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
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

// TestForeignBetweenWriters: who keeps the broker from committing, so that it gives up its
// connection, and writes before there is another is noticed too; losing the connection
// alone is nobody's commit.
func TestForeignBetweenWriters(t *testing.T) {
	path := fresh(t)
	s := mustOpen(t, path)
	begin := func() *store.Writer {
		t.Helper()
		w, err := s.Writer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tx, err := w.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(tx.PutSecret(rand.Text(), []byte("x")), tx.Commit()); err != nil {
			t.Fatal(err)
		}
		return w
	}
	begin().Discard()
	w := begin()
	if s.Foreign() != 0 {
		t.Errorf("a connection was lost: %d commits of others", s.Foreign())
	}
	if _, err := w.Begin(); err != nil { // a transaction of ours that comes to nothing
		t.Fatal(err)
	}
	w.Discard()
	edit(t, path, `INSERT INTO secrets (name, value) VALUES ('theirs', x'00')`)
	mark := s.Mark("v", keyvault.Keys, "k")
	idle, err := s.Writer(t.Context()) // one that never begins
	if err != nil {
		t.Fatal(err)
	}
	idle.Discard()
	w = begin()
	if s.Foreign() != 1 {
		t.Errorf("somebody else wrote: %d commits of others", s.Foreign())
	}
	if s.Mark("v", keyvault.Keys, "k") == mark {
		t.Error("somebody else wrote: the mark stayed")
	}
	w.Discard()
	begin().Discard()
	if s.Foreign() != 1 {
		t.Errorf("nobody else wrote since: %d commits of others", s.Foreign())
	}
}

// TestMarkAfterFailedCommit: of a commit that failed nobody knows what is in the database,
// so nothing is believed that was read before.
func TestMarkAfterFailedCommit(t *testing.T) {
	s := mustOpen(t, fresh(t))
	w, err := s.Writer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	tx, err := w.Begin()
	if err != nil {
		t.Fatal(err)
	}
	key, object := s.Mark("v", keyvault.Keys, "k"), s.ObjectMark("machine", "m")
	_ = tx.PutLeaf(0, []byte("a"))
	if err := tx.PutLeaf(0, []byte("b")); err == nil || tx.Commit() == nil {
		t.Fatal("the commit did not fail")
	}
	if s.Mark("v", keyvault.Keys, "k") == key || s.ObjectMark("machine", "m") == object {
		t.Error("a mark stayed")
	}
}

// TestMarkOfWhatIsRemoved moves with the transaction itself, whether or not the log is
// emptied after it.
func TestMarkOfWhatIsRemoved(t *testing.T) {
	s := mustOpen(t, fresh(t))
	w, err := s.Writer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r := &keyvault.Row{
		Vault: "v", Collection: keyvault.Keys, Name: "Disk", Version: "1", ObjectID: "id", Seq: 1, Generation: 1, Kty: keyvault.KtyOct,
		Public: []byte("{}"), Salt: []byte("s"), Commitment: []byte("c"), Sealed: []byte("s"), DEKEpoch: 1,
	}
	var before [2]int64
	marks := func() [2]int64 {
		return [2]int64{s.Mark("v", keyvault.Keys, "disk"), s.Mark("v", keyvault.Keys, "")}
	}
	for _, do := range []func(*store.Tx) error{
		func(tx *store.Tx) error { return tx.Insert(r) },
		func(tx *store.Tx) error { return tx.Remove(r) },
	} {
		tx, err := w.Begin()
		if err != nil {
			t.Fatal(err)
		}
		before = marks()
		if err := errors.Join(do(tx), tx.Commit()); err != nil {
			t.Fatal(err)
		}
		if after := marks(); after[0] == before[0] || after[1] == before[1] {
			t.Errorf("marks %v, before %v", after, before)
		}
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
