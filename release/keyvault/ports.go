package keyvault

import (
	"context"
	"errors"

	"github.com/openskr/openskr/release"
)

// ErrNotFound says that there is no such key, version or entry.
var ErrNotFound = errors.New("not found")

// ErrConflict says that the row changed since it was read, or exists already.
var ErrConflict = errors.New("conflict")

// Row is one key version as stored. Sealed opens only with an AAD made of every
// other column (seal.go), so a row edited or moved in the database does not open.
type Row struct {
	Vault, Name, Version string
	ObjectID             string // random, 32 hex digits, one per key (all versions)
	Seq                  int64  // order of the versions of a key, from 1; the highest is the latest
	Generation           int64  // from 1, grows with every change of this row
	Kty                  string // "RSA", "EC", "oct"
	Crv                  string // EC only: "P-256", "P-384", "P-521"
	Size                 int    // bits
	KeyOps               []string
	Attributes           release.Attributes
	Created, Updated     int64 // Unix seconds
	Tags                 map[string]string
	Policy               release.ReleasePolicy
	AttestedOnly         bool
	Public               []byte // public JWK members as JSON, nil for oct
	CreatedIndex         int64  // log index of the record that made the version
	DEKEpoch             int64
	Salt                 []byte // 32 bytes
	Commitment           []byte // 32 bytes
	Sealed               []byte // nonce ‖ ciphertext ‖ tag
}

// Store keeps rows. Every change goes through Change and therefore has a record
// in the log, made durable by the same transaction. Implemented by
// internal/store for SQLite (and PostgreSQL later); releasetest has one in
// memory; internal/store/storetest is the suite that both must pass.
type Store interface {
	// Row gives a version, or the latest one when version is "". ErrNotFound.
	Row(ctx context.Context, vault, name, version string) (*Row, error)
	// Latest lists the latest version of each key whose name sorts after `after`, in name order.
	Latest(ctx context.Context, vault, after string, limit int) ([]*Row, error)
	// Versions lists the versions of a key with Seq > after, oldest first.
	Versions(ctx context.Context, vault, name string, after int64, limit int) ([]*Row, error)
	// Secret reads a sealed deployment value ("dek/<vault>/<epoch>", "deployment/…"). ErrNotFound.
	Secret(ctx context.Context, name string) ([]byte, error)
	// Change appends rec and runs fn in the same transaction. fn gets the index
	// that the record will have and may fill in rec's fields before it is encoded.
	// If fn fails, nothing is written and its error is returned. Concurrent calls
	// share one durable commit.
	Change(ctx context.Context, rec *release.Record, fn func(tx Tx, index int64) error) (*release.Committed, error)
}

// Tx is the inside of a Change.
type Tx interface {
	Row(vault, name, version string) (*Row, error)
	// Insert adds a version. ErrConflict when it exists.
	Insert(r *Row) error
	// Update replaces the row whose generation is from. ErrConflict when it changed.
	Update(r *Row, from int64) error
	// PutSecret stores a sealed deployment value; ErrConflict when it exists.
	PutSecret(name string, value []byte) error
	// ReplaceSecret overwrites one that exists; ErrNotFound otherwise.
	ReplaceSecret(name string, value []byte) error
}
