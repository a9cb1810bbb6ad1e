package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// Due lists the latest version of each object that is deleted and may be purged at
// the Unix second now, beginning after the object of `after`.
func (s *Store) Due(ctx context.Context, now int64, after *keyvault.Row, limit int) ([]*keyvault.Row, error) {
	if after == nil {
		after = &keyvault.Row{}
	}
	return s.at(ctx).keys(`SELECT `+keyColumns+`, `+keyGeneration+` FROM keys k WHERE purge > 0 AND purge <= ? AND (vault, collection, name) > (?, ?, ?) AND seq =
		(SELECT MAX(seq) FROM keys WHERE vault = k.vault AND collection = k.collection AND name = k.name) ORDER BY vault, collection, name LIMIT CAST(? AS INTEGER)`,
		now, after.Vault, after.Collection, after.Name, limit)
}

// Versions implements [keyvault.Tx].
func (tx *Tx) Versions(vault string, c keyvault.Collection, name string) ([]*keyvault.Row, error) {
	rows, err := tx.read().versions(vault, c, name)
	return rows, tx.settle(err)
}

func (q queries) versions(vault string, c keyvault.Collection, name string) ([]*keyvault.Row, error) {
	return q.keys(`SELECT `+keyColumns+`, `+keyGeneration+` FROM keys k WHERE vault = ? AND collection = ? AND name = ? ORDER BY seq`, vault, c, name)
}

// Remove implements [keyvault.Tx].
func (tx *Tx) Remove(r *keyvault.Row) error {
	tx.touchKey(r)
	n, err := tx.affected(`DELETE FROM keys WHERE vault = ? AND collection = ? AND name = ? AND version = ? AND generation = ?`,
		r.Vault, r.Collection, r.Name, r.Version, r.Generation)
	return tx.generation("key/"+r.ObjectID+"/"+r.Version, r.Generation+1, one(n, err, ErrConflict))
}

// Generation implements [keyvault.Tx].
func (tx *Tx) Generation(objectID, version string) (n int64, err error) {
	err = tx.read().row(`SELECT generation FROM generations WHERE id = ?`, "key/"+objectID+"/"+version).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return n, tx.fail(err)
}

// Policy implements [keyvault.Tx].
func (tx *Tx) Policy(digest [32]byte) (*release.ReleasePolicy, error) {
	p, err := tx.read().policy(digest)
	return p, tx.settle(err)
}

func (q queries) policy(digest [32]byte) (*release.ReleasePolicy, error) {
	p := &release.ReleasePolicy{Digest: digest}
	err := q.row(`SELECT content_type, data FROM policies WHERE digest = ?`, digest[:]).Scan(&p.ContentType, &p.Data)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, ErrNotFound
	case err != nil:
		return nil, err
	case sha256.Sum256(p.Data) != digest:
		return nil, release.Refuse(release.ReasonIntegrity, "the kept policy %x was edited; restore a backup", digest)
	}
	return p, nil
}
