// Package sqlite opens the embedded store: one file in a folder of its own, in
// WAL mode with synchronous=FULL, so that an acknowledged commit survives power
// loss. It is the only importer of the SQLite driver.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"

	"github.com/openskr/openskr/internal/store"
)

//go:embed migrations/*.sql
var embedded embed.FS

// Options of Open.
type Options struct {
	// Create makes the store, and its folder with mode 0700, when there is none.
	// Without it a missing file is an error, so that a wrong path never becomes an
	// empty store.
	Create bool
	// Readers is the number of read connections; 0 means 4.
	Readers int
}

// SQLite's codes for a failed fsync (sqlite.org/rescode.html): SQLITE_IOERR_FSYNC
// and SQLITE_IOERR_DIR_FSYNC.
const (
	codeFsync    = 10 | 4<<8
	codeDirFsync = 10 | 5<<8
)

// walLimit bounds the write-ahead log file after a checkpoint, in bytes.
const walLimit = 64 << 20

// How many milliseconds a statement waits for a lock, and how many a forced checkpoint
// waits for readers. Whoever reads the whole log reads for long, and meanwhile nothing
// can be written, so that every release would wait too.
const (
	lockWait   = 5000
	readerWait = 200
)

// Open opens the store in the file at path, takes its lock for this process and
// brings its tables up to date, with a copy of the file as it was beside it
// (path + ".before-v2", …).
//
// It refuses with store.ErrLocked while another broker has it, with
// store.ErrNewer when a newer program wrote it, and when the file or its folder
// can be reached by other users, is a link or lies on a network file system.
func Open(ctx context.Context, path string, o Options) (*store.Store, error) {
	sub, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return nil, err
	}
	return open(ctx, path, o, sub)
}

func open(ctx context.Context, path string, o Options, migrations fs.FS) (_ *store.Store, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	created, err := prepare(path, o.Create)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	lock, err := takeLock(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	write, read, check := pool(path, "rw", 1), pool(path, "ro", max(o.Readers, 0)), waitingPool(path, "rw", 1, readerWait)
	closeAll := func() error { return errors.Join(check.Close(), lock.Close()) }
	if err := migrate(ctx, write, path, migrations, created); err != nil {
		return nil, errors.Join(fmt.Errorf("store %s: %w", path, err), read.Close(), write.Close(), closeAll())
	}
	write.SetMaxOpenConns(2) // the second is one that was given up
	return store.New(store.Backend{
		Write: write, Read: read, Begin: "BEGIN IMMEDIATE",
		Rebind:     func(q string) string { return q },
		Copy:       func(ctx context.Context, to string) error { return vacuumInto(ctx, path, to) },
		Checkpoint: func(ctx context.Context, force bool) (int64, error) { return checkpoint(ctx, check, force) },
		Unsynced:   unsynced, Verify: verify, Close: closeAll,
		Foreign: "PRAGMA data_version", // unchanged by commits of the same connection
	}), nil
}

// pool makes a pool over the file. Every connection has the pragmas that
// durability and isolation rest on; verify reads them back.
func pool(path, mode string, n int) *sql.DB { return waitingPool(path, mode, n, lockWait) }

// waitingPool is one that waits so many milliseconds for a lock.
func waitingPool(path, mode string, n, wait int) *sql.DB {
	if n == 0 {
		n = 4
	}
	busy := fmt.Sprintf("busy_timeout(%d)", wait)
	pragmas := []string{
		busy, "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)",
		"wal_autocheckpoint(0)", fmt.Sprintf("journal_size_limit(%d)", walLimit), "trusted_schema(OFF)", "cell_size_check(ON)",
		"secure_delete(ON)", // what is purged is overwritten
	}
	if mode == "ro" {
		pragmas = []string{busy, "query_only(ON)", "trusted_schema(OFF)", "cell_size_check(ON)"}
	}
	db := sql.OpenDB(connector{dsn: dsn(path, mode, pragmas...)})
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db
}

func dsn(path, mode string, pragmas ...string) string {
	q := url.Values{"mode": {mode}, "_pragma": pragmas}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// verify refuses a connection that would not be durable (security: a store that
// acknowledges what a power cut takes back).
func verify(ctx context.Context, c *sql.Conn) error {
	var sync int
	var journal string
	if err := errors.Join(c.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&sync),
		c.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal)); err != nil {
		return fmt.Errorf("reading durability settings: %w", err)
	}
	if sync < 2 || journal != "wal" {
		return fmt.Errorf("synchronous=%d journal_mode=%s: want at least 2 (FULL) and wal; a commit would not survive a power cut", sync, journal)
	}
	return nil
}

// checkpoint copies the write-ahead log into the database. PASSIVE never makes a
// writer wait; TRUNCATE, between transactions, leaves an empty file, without the
// frames of what was overwritten since. Who writes begins the log anew only when a
// checkpoint came to its end, with nobody writing meanwhile, and nobody reads what is in
// it; else the next frames are put behind those that are there. length is that of all of
// them, in bytes.
func checkpoint(ctx context.Context, db *sql.DB, force bool) (length int64, err error) {
	mode := "PASSIVE"
	if force {
		mode = "TRUNCATE"
	}
	var busy, frames, done int64
	if err := db.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &frames, &done); err != nil {
		return 0, fmt.Errorf("checkpoint: %w", err)
	}
	const frame = 4096 + 24
	if force && busy != 0 {
		frames = max(frames, 1)
	}
	return frames * frame, nil
}

func unsynced(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code() == codeFsync || e.Code() == codeDirFsync)
}

// vacuumInto writes a consistent copy under a temporary name, makes it durable
// and only then gives it its name, so that a half copy is never taken for one.
func vacuumInto(ctx context.Context, from, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	tmp := path + ".part"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) // SQLite fills an empty file
	if err != nil {
		return err
	}
	defer f.Close()
	// A connection of its own: VACUUM INTO is a write for query_only, and must not
	// keep a reader of the pool busy.
	db := sql.OpenDB(connector{dsn: dsn(from, "ro", "busy_timeout(5000)", "trusted_schema(OFF)", "cell_size_check(ON)")})
	defer db.Close()
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", tmp); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Link(tmp, path); err != nil { // unlike Rename, does not overwrite
		return errors.Join(err, os.Remove(tmp))
	}
	return errors.Join(os.Remove(tmp), syncDir(filepath.Dir(path)))
}
