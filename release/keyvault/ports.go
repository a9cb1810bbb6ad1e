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

// Collection is a kind of objects in a vault.
type Collection = release.Collection

// The collections.
const (
	Keys    = release.CollectionKeys
	Secrets = release.CollectionSecrets
)

// Row is one version of a key or a secret as stored. Sealed opens only with an AAD made of every
// other column (seal.go), so a row edited or moved in the database does not open.
type Row struct {
	Vault            string
	Collection       Collection
	Name, Version    string // Name in the case of its first version
	ObjectID         string // random, 32 hex digits, one per key or secret (all versions)
	Seq              int64  // order of the versions of a key, from 1; the highest is the latest
	Generation       int64  // from 1, grows with every change of this row
	Kty              string // "RSA", "EC", "oct"; "" for a secret
	Crv              string // EC only: "P-256", "P-384", "P-521"
	Size             int    // bits
	KeyOps           []string
	Attributes       release.Attributes
	Created, Updated int64 // Unix seconds
	Tags             map[string]string
	Policy           release.ReleasePolicy
	AttestedOnly     bool
	Public           []byte // public JWK members as JSON, nil for oct
	ContentType      string // of a secret, as its owner said
	Deleted, Purge   int64  // Unix seconds: when it was deleted, and when it may be purged; 0: live
	CreatedIndex     int64  // log index of the record that made the version
	DEKEpoch         int64
	Salt             []byte // 32 bytes
	Commitment       []byte // 32 bytes
	Sealed           []byte // nonce ‖ ciphertext ‖ tag
}

// Store keeps rows. Every change goes through Change and therefore has a record
// in the log, made durable by the same transaction. Implemented by
// internal/store for SQLite (and PostgreSQL later); releasetest has one in
// memory; internal/store/storetest is the suite that both must pass.
type Store interface {
	// Row gives a version, or the latest one when version is "", deleted or not.
	// Names compare without case. ErrNotFound.
	Row(ctx context.Context, vault string, c Collection, name, version string) (*Row, error)
	// Latest lists the latest version of each object whose name sorts after `after`,
	// in name order: the live ones, or the deleted ones.
	Latest(ctx context.Context, vault string, c Collection, deleted bool, after string, limit int) ([]*Row, error)
	// Versions lists the versions of an object with Seq > after, oldest first, deleted or not.
	Versions(ctx context.Context, vault string, c Collection, name string, after int64, limit int) ([]*Row, error)
	// Due lists the latest version of each object, of any vault and collection, that is
	// deleted and may be purged at the Unix second now, in the order of vault, collection
	// and name, beginning after that of `after` (nil: with the first).
	Due(ctx context.Context, now int64, after *Row, limit int) ([]*Row, error)
	// Secret reads a sealed deployment value ("dek/<vault>/<epoch>", "deployment/…"). ErrNotFound.
	Secret(ctx context.Context, name string) ([]byte, error)
	// Mark gives a number that is another one when a version of the object, or with name
	// "" of any object of the collection, was written since it was asked for before: from
	// then on, at the latest, when the change is acknowledged. A row that was read after
	// its mark is the present one as long as the mark stays.
	Mark(vault string, c Collection, name string) int64
	// Change appends rec and runs fn in the same transaction. fn gets the index
	// that the record will have and may fill in rec's fields before it is encoded.
	// If fn fails, nothing is written and its error is returned. Concurrent calls
	// share one durable commit.
	Change(ctx context.Context, rec *release.Record, fn func(tx Tx, index int64) error) (*release.Committed, error)
}

// Tx is the inside of a Change.
type Tx interface {
	Row(vault string, c Collection, name, version string) (*Row, error)
	// Insert adds a version. ErrConflict when it exists.
	Insert(r *Row) error
	// Update replaces the row whose generation is from. ErrConflict when it changed.
	Update(r *Row, from int64) error
	// Versions gives every version of an object, oldest first, deleted or not; none
	// when there is no such object.
	Versions(vault string, c Collection, name string) ([]*Row, error)
	// Remove takes a version away for good and overwrites where it was stored. It keeps
	// a generation above r's, so that a row that is put back is refused. ErrConflict when
	// the row changed.
	Remove(r *Row) error
	// Generation is the highest that a version ever had, 0 when there never was one.
	Generation(objectID, version string) (int64, error)
	// Policy gives a release policy that a key has or had. ErrNotFound.
	Policy(digest [32]byte) (*release.ReleasePolicy, error)
	// Object gives a document as this transaction sees it. ErrNotFound.
	Object(kind, name string) (*release.Object, error)
	// PutObject makes or replaces one; its record is that of this change.
	PutObject(kind, name string, value []byte) error
	// PutSecret stores a sealed deployment value; ErrConflict when it exists.
	PutSecret(name string, value []byte) error
	// ReplaceSecret overwrites one that exists; ErrNotFound otherwise.
	ReplaceSecret(name string, value []byte) error
}
