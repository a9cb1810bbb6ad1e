// Package store keeps the broker's rows: keys, sealed values, objects, nonces
// and the log, in one database, so that a change and its record are one
// transaction. It is one database/sql code base; what differs between databases
// is a [Backend], made by store/sqlite.
//
// Anyone may read a [Store]. Only package audit writes, through the one [Writer],
// because every change has a record in the log.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"

	"github.com/openskr/openskr/release/keyvault"
)

// Errors of the ports, so that callers of this package need no other import.
var (
	ErrNotFound = keyvault.ErrNotFound
	ErrConflict = keyvault.ErrConflict
)

// ErrNewer says that the store was written by a newer program.
var ErrNewer = errors.New("store is newer than this program")

// ErrLocked says that another broker has the store open.
var ErrLocked = errors.New("store is in use by another broker")

// Backend is what differs between databases. Every field but Checkpoint and Foreign is required.
type Backend struct {
	Write *sql.DB // serves one connection at a time; with Foreign two
	Read  *sql.DB // cannot write
	Begin string  // statement that starts a write transaction and takes the write lock
	// Rebind turns ? placeholders into the database's own.
	Rebind func(query string) string
	// Copy writes a consistent copy to a file that must not exist, made durable.
	Copy func(ctx context.Context, path string) error
	// Checkpoint moves the write-ahead log into the database, nil when the database
	// does it alone. When force is set it waits for readers, and must only be called
	// between transactions, and empties that log; length is how long it is then, in bytes.
	Checkpoint func(ctx context.Context, force bool) (length int64, err error)
	// Unsynced says that err is a failed fsync: what the disk holds is unknown, also
	// for what was written before, and only a restart reads it again.
	Unsynced func(err error) bool
	// Verify checks durability settings of a new write connection.
	Verify func(ctx context.Context, c *sql.Conn) error
	// Foreign is a query for a number, not 0, that changes on the write connection when
	// another one committed, and then only. Empty where others may write at any time.
	Foreign string
	Close   func() error // after the pools
}

// Store reads rows. Its methods are safe for concurrent use.
type Store struct {
	b        Backend
	prepared *prepared
	read     queries
	marks    marks
	foreign  atomic.Int64 // commits of others that were noticed
	forced   atomic.Bool  // a forced checkpoint was made since the last transaction
	given    *Writer      // up, and no other has begun since; of who has the Writer
}

// New makes a Store of b.
func New(b Backend) *Store {
	p := &prepared{db: b.Read}
	return &Store{b: b, prepared: p, read: queries{ctx: nil, db: p, rebind: b.Rebind}, marks: marks{seed: maphash.MakeSeed()}}
}

// Ping reads one row.
func (s *Store) Ping(ctx context.Context) error {
	var n int
	return s.b.Read.QueryRowContext(ctx, "SELECT 1").Scan(&n)
}

// Close closes the store. The Writer must be closed before.
func (s *Store) Close() error {
	_ = s.unseen()
	return errors.Join(s.prepared.close(), s.b.Read.Close(), s.b.Write.Close(), s.b.Close())
}

// Backup writes a consistent copy of the whole store to path, which must not
// exist, while the broker works. The copy is durable and has mode 0600. It holds
// no usable secret: what is secret in it is sealed under the root key.
func (s *Store) Backup(ctx context.Context, path string) error {
	if err := s.b.Copy(ctx, path); err != nil {
		return fmt.Errorf("backup to %s: %w", path, err)
	}
	return nil
}

// Checkpoint moves the write-ahead log into the database and gives its length after
// that, in bytes. With force, which empties it, it must not run beside a transaction.
func (s *Store) Checkpoint(ctx context.Context, force bool) (length int64, err error) {
	if s.b.Checkpoint == nil {
		return 0, nil
	}
	if force {
		s.forced.Store(true)
	}
	return s.b.Checkpoint(ctx, force)
}

// Unsynced says that err means a failed fsync, after which only a new process
// may trust what it reads.
func (s *Store) Unsynced(err error) bool { return s.b.Unsynced(err) }
