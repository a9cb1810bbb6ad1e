package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/openskr/openskr/internal/store"
)

// Magic is how a database file begins.
const Magic = "SQLite format 3\x00"

// OpenCopy opens a database file to read it, without lock or migration: a copy, a
// backup, or a live store while its broker works.
func OpenCopy(ctx context.Context, path string) (*store.Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	name := dsn(path, "ro", "busy_timeout(5000)", "query_only(ON)", "trusted_schema(OFF)", "cell_size_check(ON)")
	if _, err := os.Stat(path + "-wal"); err != nil {
		name += "&immutable=1" // nobody writes it; otherwise SQLite wants to make files beside it
	}
	db := sql.OpenDB(connector{dsn: name})
	db.SetMaxOpenConns(4)
	st := store.New(store.Backend{
		Read: db, Write: db, Rebind: func(q string) string { return q }, Close: func() error { return nil },
		Copy: func(ctx context.Context, to string) error { return vacuumInto(ctx, path, to) },
	})
	if err := st.Ping(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return st, nil
}

// Restore puts a backup into a folder that is made, or empty: dir/name. The copy
// is checked page by page before and is durable after; it is not overwritten over
// anything. Who may open what is sealed in it is not this package's matter.
func Restore(ctx context.Context, src, path string) error {
	if err := checkCopy(ctx, src); err != nil {
		return fmt.Errorf("backup %s: %w", src, err)
	}
	created, err := prepare(path, true)
	if err != nil {
		return err
	}
	if !created {
		return fmt.Errorf("%s: %w: restore into an empty folder", path, os.ErrExist)
	}
	if err := copyFile(src, path); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return checkCopy(ctx, path)
}

// checkCopy refuses a file that is no store, was cut off or is damaged.
func checkCopy(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, len(Magic))
	if _, err := io.ReadFull(f, head); err != nil || string(head) != Magic {
		return errors.New("not a database file")
	}
	if _, err := os.Stat(path + "-wal"); err == nil {
		return errors.New("a write-ahead log lies beside it: it is a live store, not a backup; use `openskr backup create`")
	}
	db := sql.OpenDB(connector{dsn: dsn(path, "ro") + "&immutable=1"})
	defer db.Close()
	var pages, size int64
	var result string
	if err := errors.Join(db.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages), db.QueryRowContext(ctx, "PRAGMA page_size").Scan(&size),
		db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&result)); err != nil {
		return err
	}
	if fi, err := f.Stat(); err != nil || fi.Size() != pages*size {
		return errors.Join(err, fmt.Errorf("cut off: want %d pages of %d bytes", pages, size))
	}
	if result != "ok" {
		return fmt.Errorf("damaged: %s", result)
	}
	return known(ctx, db)
}

func copyFile(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close(), syncDir(filepath.Dir(dst)))
}
