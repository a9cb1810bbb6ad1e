package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync/atomic"
)

// Writer is the one write connection. It belongs to one goroutine.
type Writer struct {
	s    *Store
	conn *sql.Conn
	prep map[string]*sql.Stmt
	// version is what Backend.Foreign gave last, 0 before the first transaction.
	version int64
}

// Writer opens the write connection.
func (s *Store) Writer(ctx context.Context) (*Writer, error) {
	c, err := s.b.Write.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("write connection: %w", err)
	}
	w := &Writer{s: s, conn: c, prep: map[string]*sql.Stmt{}}
	if err := s.b.Verify(ctx, c); err != nil {
		w.Discard()
		return nil, err
	}
	return w, nil
}

// Close gives the connection back.
func (w *Writer) Close() error {
	for _, st := range w.prep {
		_ = st.Close() // read-only bookkeeping, the connection outlives it
	}
	return w.conn.Close()
}

// Discard gives the connection up, with whatever transaction is open on it. Where that
// can tell of commits of others it stays open until the next writer has begun: a new
// connection has nothing to compare with, and whoever makes our commits fail could write
// in between.
func (w *Writer) Discard() {
	_, _ = w.conn.ExecContext(context.Background(), "ROLLBACK") // there may be none, or the connection is dead
	if w.version == 0 {                                         // it never began, so the one before it knows more
		w.drop()
		return
	}
	if _, err := w.conn.ExecContext(context.Background(), "BEGIN; ROLLBACK"); err != nil {
		w.drop() // a transaction that does not end holds the lock; this one can tell nothing
	}
	_ = w.s.unseen()
	w.s.given = w
}

// drop closes the connection itself.
func (w *Writer) drop() {
	for _, st := range w.prep {
		_ = st.Close()
	}
	clear(w.prep)
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn }) // tells the pool to close it
	_ = w.conn.Close()
}

// Begin starts the transaction. Only one may be open.
func (w *Writer) Begin() (*Tx, error) {
	tx := &Tx{w: w}
	if err := tx.exec(w.s.b.Begin); err != nil {
		return tx, err
	}
	return tx, tx.fail(w.Look())
}

// stmt prepares query once for the life of the connection. Writes are never
// cancelled half way: they run without a deadline, and their callers wait bounded.
func (w *Writer) stmt(query string) (*sql.Stmt, error) {
	if st := w.prep[query]; st != nil {
		return st, nil
	}
	st, err := w.conn.PrepareContext(context.Background(), w.s.b.Rebind(query))
	if err != nil {
		return nil, err
	}
	w.prep[query] = st
	return st, nil
}

// Tx is a write transaction. The first failure of the database itself is kept
// in Err: the transaction can then only be rolled back, since a database may
// have ended it by itself.
type Tx struct {
	w       *Writer
	err     error
	touched []*atomic.Int64 // marks of what is written
}

// Err is the first failure of the database, not of a precondition.
func (tx *Tx) Err() error { return tx.err }

func (tx *Tx) fail(err error) error {
	if err != nil && tx.err == nil {
		tx.err = err
	}
	return err
}

func (tx *Tx) exec(query string, args ...any) error {
	_, err := tx.affected(query, args...)
	return err
}

func (tx *Tx) affected(query string, args ...any) (int64, error) {
	if tx.err != nil {
		return 0, tx.err
	}
	st, err := tx.w.stmt(query)
	if err != nil {
		return 0, tx.fail(err)
	}
	res, err := st.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, tx.fail(err)
	}
	n, err := res.RowsAffected()
	return n, tx.fail(err)
}

// QueryContext and QueryRowContext make a Tx a querier over prepared statements.
func (tx *Tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if tx.err != nil {
		return nil, tx.err
	}
	st, err := tx.w.stmt(query)
	if err != nil {
		return nil, tx.fail(err)
	}
	rows, err := st.QueryContext(ctx, args...)
	return rows, tx.fail(err)
}

// QueryRowContext is QueryContext for one row; its error is in the Scan.
func (tx *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	st, err := tx.w.stmt(query)
	if err != nil {
		_ = tx.fail(err)
		return tx.w.conn.QueryRowContext(ctx, query, args...) // fails the same way, in Scan
	}
	return st.QueryRowContext(ctx, args...)
}

func (tx *Tx) read() queries {
	return queries{ctx: context.Background(), db: tx, rebind: func(q string) string { return q }}
}

// Commit makes the transaction durable. After an error its fate is unknown.
func (tx *Tx) Commit() error {
	err := tx.exec("COMMIT")
	if err != nil {
		tx.w.s.marks.all.Add(1)
		return err
	}
	for _, m := range tx.touched {
		m.Add(1)
	}
	return nil
}

// Rollback drops the transaction.
func (tx *Tx) Rollback() error {
	_, err := tx.w.conn.ExecContext(context.Background(), "ROLLBACK")
	return err
}

// Savepoint starts a part that Undo can drop and Keep confirms.
func (tx *Tx) Savepoint() error { return tx.exec("SAVEPOINT entry") }

// Keep ends the part.
func (tx *Tx) Keep() error { return tx.exec("RELEASE SAVEPOINT entry") }

// Undo drops the part.
func (tx *Tx) Undo() error {
	if err := tx.exec("ROLLBACK TO SAVEPOINT entry"); err != nil {
		return err
	}
	return tx.Keep()
}
