package store

import (
	"database/sql"
	"errors"
	"iter"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// settle keeps failures of the database apart from "there is none" and from a row
// that is refused.
func (tx *Tx) settle(err error) error {
	var refused *release.Error
	if err == nil || errors.Is(err, ErrNotFound) || errors.As(err, &refused) {
		return err
	}
	return tx.fail(err)
}

// Row implements [keyvault.Tx].
func (tx *Tx) Row(vault string, c keyvault.Collection, name, version string) (*keyvault.Row, error) {
	r, err := tx.read().key(vault, c, name, version)
	return r, tx.settle(err)
}

// Insert implements [keyvault.Tx].
func (tx *Tx) Insert(r *keyvault.Row) error {
	args, err := keyArgs(r)
	if err != nil {
		return err
	}
	tx.touchKey(r)
	n, err := tx.affected(`INSERT INTO keys (`+keyColumns+`) VALUES (`+keyPlaces+`) ON CONFLICT DO NOTHING`, args...)
	return tx.written(r, one(n, err, ErrConflict))
}

// written notes generation and policy of a key's row, unless it was not written.
func (tx *Tx) written(r *keyvault.Row, err error) error {
	if err = tx.generation("key/"+r.ObjectID+"/"+r.Version, r.Generation, err); err != nil || len(r.Policy.Data) == 0 {
		return err
	}
	return tx.KeepPolicy(r.Policy)
}

// KeepPolicy keeps a policy by its digest, whatever becomes of what had it.
func (tx *Tx) KeepPolicy(p release.ReleasePolicy) error {
	return tx.exec(`INSERT INTO policies (digest, content_type, data) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, p.Digest[:], p.ContentType, p.Data)
}

// generation notes a new generation, unless its row was not written.
func (tx *Tx) generation(id string, n int64, err error) error {
	if err != nil {
		return err
	}
	return tx.exec(`INSERT INTO generations (id, generation) VALUES (?, ?)
		ON CONFLICT (id) DO UPDATE SET generation = excluded.generation`, id, n)
}

// Update implements [keyvault.Tx].
func (tx *Tx) Update(r *keyvault.Row, from int64) error {
	args, err := keyArgs(r)
	if err != nil {
		return err
	}
	tx.touchKey(r)
	n, err := tx.affected(`UPDATE keys SET (`+keyColumns+`) = (`+keyPlaces+`)
		WHERE vault = ? AND collection = ? AND name = ? AND version = ? AND generation = ?`,
		append(args, r.Vault, r.Collection, r.Name, r.Version, from)...)
	return tx.written(r, one(n, err, ErrConflict))
}

// PutSecret implements [keyvault.Tx].
func (tx *Tx) PutSecret(name string, value []byte) error {
	n, err := tx.affected(`INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING`, name, value)
	return one(n, err, ErrConflict)
}

// ReplaceSecret implements [keyvault.Tx].
func (tx *Tx) ReplaceSecret(name string, value []byte) error {
	n, err := tx.affected(`UPDATE secrets SET value = ? WHERE name = ?`, value, name)
	return one(n, err, ErrNotFound)
}

func one(n int64, err, none error) error {
	if err == nil && n != 1 {
		return none
	}
	return err
}

// KeyState is what the append judges again about a key version.
type KeyState struct {
	Attributes release.Attributes
	ObjectID   string
	Generation int64
	Policy     []byte // digest
	Latest     bool
	Deleted    bool
}

// KeyState reads it. ErrNotFound.
func (tx *Tx) KeyState(c keyvault.Collection, ref release.KeyRef) (*KeyState, error) {
	var s KeyState
	var enabled, exportable, deleted, seq, last int64
	var want sql.NullInt64
	err := tx.read().row(`SELECT object_id, generation, policy_digest, enabled, nbf, exp, exportable, deleted, seq,
		(SELECT MAX(seq) FROM keys WHERE vault = k.vault AND collection = k.collection AND name = k.name), `+keyGeneration+`
		FROM keys k WHERE vault = ? AND collection = ? AND name = ? AND version = ?`, ref.Vault, c, ref.Name, ref.Version).
		Scan(&s.ObjectID, &s.Generation, &s.Policy, &enabled, &s.Attributes.NotBefore, &s.Attributes.Expires, &exportable, &deleted, &seq, &last, &want)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	s.Attributes.Enabled, s.Attributes.Exportable, s.Latest, s.Deleted = enabled == 1, exportable == 1, seq == last, deleted != 0
	if err == nil && want.Int64 != s.Generation {
		return nil, stale("key "+ref.Name, s.Generation, want)
	}
	return &s, tx.fail(err)
}

// Object gives an object's row, its MAC not checked. ErrNotFound.
func (tx *Tx) Object(kind, name string) (*ObjectRow, error) {
	o, err := tx.read().object(kind, name)
	return o, tx.settle(err)
}

// PutObject inserts or replaces an object.
func (tx *Tx) PutObject(o *ObjectRow) error {
	tx.touched = append(tx.touched, tx.w.s.marks.scope("object", o.Kind, o.Name))
	err := tx.exec(`INSERT INTO objects (kind, name, generation, idx, value, mac) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (kind, name) DO UPDATE SET generation = excluded.generation, idx = excluded.idx,
		value = excluded.value, mac = excluded.mac`, o.Kind, o.Name, o.Generation, o.Index, o.Value, o.MAC)
	return tx.generation("object/"+o.Kind+"/"+o.Name, o.Generation, err)
}

// Reset gives the highest resetCount seen of a machine and its MAC. ErrNotFound.
func (tx *Tx) Reset(machine string) (count int64, mac []byte, err error) {
	err = tx.read().row(`SELECT count, mac FROM resets WHERE machine = ?`, machine).Scan(&count, &mac)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil, ErrNotFound
	}
	return count, mac, tx.fail(err)
}

// PutReset sets it.
func (tx *Tx) PutReset(machine string, count int64, mac []byte) error {
	return tx.exec(`INSERT INTO resets (machine, count, mac) VALUES (?, ?, ?)
		ON CONFLICT (machine) DO UPDATE SET count = excluded.count, mac = excluded.mac`, machine, count, mac)
}

// Use is what spent a nonce: the digest of a request, index and time of its record.
type Use struct {
	Request [32]byte
	Index   int64
	At      int64 // Unix milliseconds
}

// Spent gives what spent a nonce first. ErrNotFound.
func (tx *Tx) Spent(hash [32]byte) (*Use, error) {
	var u Use
	var request []byte
	err := tx.read().row(`SELECT request, idx, at FROM nonces WHERE hash = ?`, hash[:]).Scan(&request, &u.Index, &u.At)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	copy(u.Request[:], request)
	return &u, tx.fail(err)
}

// SpendNonce records a nonce and says whether it was new. expires is in Unix
// milliseconds. One that expires no later than a nonce that was dropped may be that
// nonce, and is not new: whatever the clock does, a nonce is new once (FR-14).
func (tx *Tx) SpendNonce(hash [32]byte, expires int64, by Use) (fresh bool, err error) {
	n, err := tx.affected(`INSERT INTO nonces (hash, expires, request, idx, at) SELECT ?, ?, ?, ?, ?
		WHERE NOT EXISTS (SELECT 1 FROM generations WHERE id = 'nonces' AND generation >= ?)
		ON CONFLICT DO NOTHING`, hash[:], expires, by.Request[:], by.Index, by.At, expires)
	return n == 1, err
}

// PurgeNonces drops up to limit nonces that expired before, in Unix milliseconds,
// the oldest first, and notes the latest expiry among them, as the generation of
// "nonces".
func (tx *Tx) PurgeNonces(before int64, limit int) error {
	err := tx.exec(`INSERT INTO generations (id, generation)
		SELECT 'nonces', MAX(expires) FROM (SELECT expires FROM nonces WHERE expires < ? ORDER BY expires LIMIT CAST(? AS INTEGER))
		HAVING COUNT(*) > 0
		ON CONFLICT (id) DO UPDATE SET generation = MAX(generation, excluded.generation)`, before, limit)
	if err != nil {
		return err
	}
	return tx.exec(`DELETE FROM nonces WHERE hash IN (SELECT hash FROM nonces WHERE expires < ? ORDER BY expires LIMIT CAST(? AS INTEGER))`, before, limit)
}

// DropReset forgets the resetCount of a machine and says whether there was one.
func (tx *Tx) DropReset(machine string) (bool, error) {
	n, err := tx.affected(`DELETE FROM resets WHERE machine = ?`, machine)
	return n == 1, err
}

// LastAbout gives the index of the last record about an object id. ErrNotFound.
func (tx *Tx) LastAbout(objectID string) (index int64, err error) {
	err = tx.read().row(`SELECT idx FROM log_objects WHERE object_id = ?`, objectID).Scan(&index)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, ErrNotFound
	}
	return index, tx.fail(err)
}

// SetLastAbout sets it.
func (tx *Tx) SetLastAbout(objectID string, index int64) error {
	return tx.exec(`INSERT INTO log_objects (object_id, idx) VALUES (?, ?)
		ON CONFLICT (object_id) DO UPDATE SET idx = excluded.idx`, objectID, index)
}

// PutLeaf appends an entry. An index that exists is an error.
func (tx *Tx) PutLeaf(index int64, leaf []byte) error {
	return tx.exec(`INSERT INTO log_leaves (idx, leaf) VALUES (?, ?)`, index, leaf)
}

// PutDecision keeps the document a decision was made from, and why it is a
// denial; nil for none.
func (tx *Tx) PutDecision(index int64, input, refusal []byte) error {
	return tx.exec(`INSERT INTO decisions (idx, input, refusal) VALUES (?, ?, ?)`, index, input, refusal)
}

// PutHash stores a hash of the tree.
func (tx *Tx) PutHash(index int64, h tlog.Hash) error {
	return tx.exec(`INSERT INTO log_hashes (idx, hash) VALUES (?, ?)`, index, h[:])
}

// Leaves reads entries back inside the transaction.
func (tx *Tx) Leaves(start, end int64) iter.Seq2[Leaf, error] { return tx.read().leaves(start, end) }

// PutState replaces the state of the log, provided that it is still at st.Prior.
// ErrConflict when another writer moved it.
func (tx *Tx) PutState(st State) error {
	n, err := tx.affected(`INSERT INTO log_checkpoint (id, size, prior, note) VALUES (1, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET size = excluded.size, prior = excluded.prior, note = excluded.note
		WHERE log_checkpoint.size = excluded.prior`, st.Size, st.Prior, st.Note)
	return one(n, err, ErrConflict)
}
