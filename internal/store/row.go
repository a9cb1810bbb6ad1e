package store

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

const keyColumns = `vault, collection, name, version, object_id, seq, generation, kty, crv, size, key_ops, enabled, nbf, exp, exportable,
	created, updated, tags, policy_type, policy_data, policy_immutable, policy_digest, attested_only, public,
	content_type, deleted, purge, created_index, dek_epoch, salt, commitment, sealed`

const keyPlaces = `?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?`

// keyGeneration is the generation kept apart from the row of keys k.
const keyGeneration = `(SELECT generation FROM generations WHERE id = 'key/' || k.object_id || '/' || k.version)`

// scanCurrentKey reads a single key version, and refuses one that was put back to an older state.
func scanCurrentKey(s scanner) (*keyvault.Row, error) {
	var want sql.NullInt64
	r, err := scanKey(with{s, &want})
	if err == nil && want.Int64 != r.Generation {
		err = stale("key "+r.Name, r.Generation, want)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// with scans one more column.
type with struct {
	scanner
	last *sql.NullInt64
}

func (w with) Scan(dest ...any) error { return w.scanner.Scan(append(dest, w.last)...) }

func stale(what string, have int64, want sql.NullInt64) error {
	return release.Refuse(release.ReasonIntegrity, "%s is of generation %d, the store made it %d: an older row was put back; restore a backup",
		what, have, want.Int64)
}

// scanner is a *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

func scanKey(s scanner) (*keyvault.Row, error) {
	var (
		r                                        keyvault.Row
		ops, tags, digest                        []byte
		enabled, exportable, immutable, attested int64
	)
	err := s.Scan(&r.Vault, &r.Collection, &r.Name, &r.Version, &r.ObjectID, &r.Seq, &r.Generation, &r.Kty, &r.Crv, &r.Size, &ops,
		&enabled, &r.Attributes.NotBefore, &r.Attributes.Expires, &exportable, &r.Created, &r.Updated, &tags,
		&r.Policy.ContentType, &r.Policy.Data, &immutable, &digest, &attested, &r.Public,
		&r.ContentType, &r.Deleted, &r.Purge, &r.CreatedIndex, &r.DEKEpoch, &r.Salt, &r.Commitment, &r.Sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	r.Attributes.Enabled, r.Attributes.Exportable = enabled == 1, exportable == 1
	r.Policy.Immutable, r.AttestedOnly = immutable == 1, attested == 1
	if copy(r.Policy.Digest[:], digest) != len(digest) || len(digest) != len(r.Policy.Digest) {
		return nil, fmt.Errorf("key %s/%s: policy digest of %d bytes", r.Vault, r.Name, len(digest))
	}
	if err := errors.Join(unmarshal(ops, &r.KeyOps), unmarshal(tags, &r.Tags)); err != nil {
		return nil, fmt.Errorf("key %s/%s: %w", r.Vault, r.Name, err)
	}
	return &r, nil
}

// unmarshal spares most rows, which have neither tags nor a list of operations, a
// parser.
func unmarshal(b []byte, v any) error {
	if string(b) == "null" {
		return nil
	}
	return json.Unmarshal(b, v)
}

func keyArgs(r *keyvault.Row) ([]any, error) {
	ops, err := json.Marshal(r.KeyOps)
	if err != nil {
		return nil, err
	}
	tags, err := json.Marshal(r.Tags)
	if err != nil {
		return nil, err
	}
	return []any{
		r.Vault, r.Collection, r.Name, r.Version, r.ObjectID, r.Seq, r.Generation, r.Kty, r.Crv, r.Size, string(ops),
		bit(r.Attributes.Enabled), r.Attributes.NotBefore, r.Attributes.Expires, bit(r.Attributes.Exportable),
		r.Created, r.Updated, string(tags), r.Policy.ContentType, r.Policy.Data, bit(r.Policy.Immutable),
		r.Policy.Digest[:], bit(r.AttestedOnly), r.Public, r.ContentType, r.Deleted, r.Purge, r.CreatedIndex, r.DEKEpoch, r.Salt, r.Commitment, r.Sealed,
	}, nil
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
