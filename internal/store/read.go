package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// ObjectRow is an object as stored; package audit makes and checks its MAC.
type ObjectRow struct {
	release.Object
	MAC []byte
}

// State is the signed state of the log.
type State struct {
	Size  int64
	Prior int64  // size before the last batch
	Note  string // signed checkpoint of Size
}

// querier is a pool or the one write connection.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// queries are the reads that work inside and outside of a transaction.
type queries struct {
	ctx    context.Context
	db     querier
	rebind func(string) string
}

func (s *Store) at(ctx context.Context) queries {
	q := s.read
	q.ctx = ctx
	return q
}

func (q queries) row(query string, args ...any) *sql.Row {
	return q.db.QueryRowContext(q.ctx, q.rebind(query), args...)
}

// Row gives a version, or the latest one when version is "", deleted or not. ErrNotFound.
func (s *Store) Row(ctx context.Context, vault string, c keyvault.Collection, name, version string) (*keyvault.Row, error) {
	return s.at(ctx).key(vault, c, name, version)
}

func (q queries) key(vault string, c keyvault.Collection, name, version string) (*keyvault.Row, error) {
	const from = `SELECT ` + keyColumns + `, ` + keyGeneration + ` FROM keys k WHERE vault = ? AND collection = ? AND name = ? `
	if version == "" {
		return scanCurrentKey(q.row(from+`ORDER BY seq DESC LIMIT 1`, vault, c, name))
	}
	return scanCurrentKey(q.row(from+`AND version = ?`, vault, c, name, version))
}

// Latest lists the latest version of each object whose name sorts after `after`:
// the live ones, or the deleted ones.
func (s *Store) Latest(ctx context.Context, vault string, c keyvault.Collection, deleted bool, after string, limit int) ([]*keyvault.Row, error) {
	state := `deleted = 0`
	if deleted {
		state = `deleted > 0`
	}
	return s.at(ctx).keys(`SELECT `+keyColumns+`, `+keyGeneration+` FROM keys k WHERE vault = ? AND collection = ? AND name > ? AND `+state+` AND seq =
		(SELECT MAX(seq) FROM keys WHERE vault = k.vault AND collection = k.collection AND name = k.name) ORDER BY name LIMIT CAST(? AS INTEGER)`,
		vault, c, after, limit)
}

// Versions lists the versions of an object with Seq > after, oldest first.
func (s *Store) Versions(ctx context.Context, vault string, c keyvault.Collection, name string, after int64, limit int) ([]*keyvault.Row, error) {
	return s.at(ctx).keys(versionsOf, vault, c, name, after, limit)
}

const versionsOf = `SELECT ` + keyColumns + `, ` + keyGeneration + ` FROM keys k WHERE vault = ? AND collection = ? AND name = ? AND seq > ? ORDER BY seq LIMIT CAST(? AS INTEGER)`

// keys gives rows that are of the generation that the store made last: one that was put
// back to an older state is refused, and the list with it.
func (q queries) keys(query string, args ...any) ([]*keyvault.Row, error) {
	rows, err := q.db.QueryContext(q.ctx, q.rebind(query), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*keyvault.Row
	for rows.Next() {
		r, err := scanCurrentKey(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// Secret reads a sealed deployment value. ErrNotFound.
func (s *Store) Secret(ctx context.Context, name string) (value []byte, err error) {
	return blob(s.at(ctx).row(`SELECT value FROM secrets WHERE name = ?`, name))
}

// Input gives the document that the decision at index was made from. ErrNotFound.
func (s *Store) Input(ctx context.Context, index int64) ([]byte, error) {
	return blob(s.at(ctx).row(`SELECT input FROM decisions WHERE idx = ? AND input IS NOT NULL`, index))
}

// Refusal gives what was kept of why the entry at index is a denial. ErrNotFound.
func (s *Store) Refusal(ctx context.Context, index int64) ([]byte, error) {
	return blob(s.at(ctx).row(`SELECT refusal FROM decisions WHERE idx = ? AND refusal IS NOT NULL`, index))
}

// Policy gives the release policy of that digest, which some key has or had, and
// refuses one that was edited. ErrNotFound.
func (s *Store) Policy(ctx context.Context, digest [32]byte) (*release.ReleasePolicy, error) {
	return s.at(ctx).policy(digest)
}

func blob(row *sql.Row) (b []byte, err error) {
	if err = row.Scan(&b); errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return b, err
}

// Object gives an object's row, its MAC not checked. ErrNotFound.
func (s *Store) Object(ctx context.Context, kind, name string) (*ObjectRow, error) {
	return s.at(ctx).object(kind, name)
}

// object reads the row and the generation kept apart from it at once: most that are
// asked for were never made, and that is told apart from one that is gone.
func (q queries) object(kind, name string) (*ObjectRow, error) {
	var (
		o                 ObjectRow
		foundKind, found  sql.NullString
		generation, index sql.NullInt64
		want              sql.NullInt64
	)
	err := q.row(`SELECT o.kind, o.name, o.generation, o.idx, o.value, o.mac, g.generation
		FROM (SELECT CAST(? AS TEXT) AS kind, CAST(? AS TEXT) AS name) q
		LEFT JOIN objects o ON o.kind = q.kind AND o.name = q.name
		LEFT JOIN generations g ON g.id = 'object/' || q.kind || '/' || q.name`, kind, name).
		Scan(&foundKind, &found, &generation, &index, &o.Value, &o.MAC, &want)
	o.Kind, o.Name, o.Generation, o.Index = foundKind.String, found.String, generation.Int64, index.Int64
	switch {
	case err != nil:
		return nil, err
	case !found.Valid && !want.Valid:
		return nil, ErrNotFound
	case !found.Valid: // none is ever taken away
		return nil, release.Refuse(release.ReasonIntegrity, "the row of %s %s is gone, the store made it generation %d; restore a backup", kind, name, want.Int64)
	case want.Int64 != o.Generation:
		return nil, stale(o.Kind+" "+o.Name, o.Generation, want)
	}
	return &o, nil
}

// List gives the objects of a kind whose name sorts after `after`, in name order. One that
// was put back to an older state is refused, and the list with it.
func (s *Store) List(ctx context.Context, kind, after string, limit int) ([]*ObjectRow, error) {
	q := s.at(ctx)
	rows, err := q.db.QueryContext(ctx, q.rebind(`SELECT kind, name, generation, idx, value, mac,
		(SELECT generation FROM generations WHERE id = 'object/' || o.kind || '/' || o.name)
		FROM objects o WHERE kind = ? AND name > ? ORDER BY name LIMIT CAST(? AS INTEGER)`), kind, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*ObjectRow
	for rows.Next() {
		var o ObjectRow
		var want sql.NullInt64
		if err := rows.Scan(&o.Kind, &o.Name, &o.Generation, &o.Index, &o.Value, &o.MAC, &want); err != nil {
			return nil, err
		}
		if want.Int64 != o.Generation {
			return nil, stale(o.Kind+" "+o.Name, o.Generation, want)
		}
		out = append(out, &o)
	}
	return out, rows.Err()
}

// NonceSpent says whether the nonce with this SHA-256 is spent.
func (s *Store) NonceSpent(ctx context.Context, hash [32]byte) (bool, error) {
	var n int
	err := s.at(ctx).row(`SELECT COUNT(*) FROM nonces WHERE hash = ?`, hash[:]).Scan(&n)
	return n > 0, err
}

// State of the log; ErrNotFound in a store without a log.
func (s *Store) State(ctx context.Context) (State, error) { return s.at(ctx).state() }

func (q queries) state() (State, error) {
	var st State
	err := q.row(`SELECT size, prior, note FROM log_checkpoint WHERE id = 1`).Scan(&st.Size, &st.Prior, &st.Note)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return st, err
}

// Leaves gives index and leaf of entries start, start+1, … below end, in order.
// A gap is not noticed here: compare the index.
func (s *Store) Leaves(ctx context.Context, start, end int64) iter.Seq2[Leaf, error] {
	return s.at(ctx).leaves(start, end)
}

// Leaf is an entry of the log as stored.
type Leaf struct {
	Index int64
	Leaf  []byte
}

func (q queries) leaves(start, end int64) iter.Seq2[Leaf, error] {
	return q.scanLeaves(`SELECT idx, leaf FROM log_leaves WHERE idx >= ? AND idx < ? ORDER BY idx`, start, end)
}

func (q queries) page(start int64, limit int) iter.Seq2[Leaf, error] {
	return q.scanLeaves(`SELECT idx, leaf FROM log_leaves WHERE idx >= ? ORDER BY idx LIMIT CAST(? AS INTEGER)`, start, limit)
}

func (q queries) scanLeaves(query string, args ...any) iter.Seq2[Leaf, error] {
	return func(yield func(Leaf, error) bool) {
		rows, err := q.db.QueryContext(q.ctx, q.rebind(query), args...)
		if err != nil {
			yield(Leaf{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var l Leaf
			if err := rows.Scan(&l.Index, &l.Leaf); err != nil {
				yield(l, err)
				return
			}
			if !yield(l, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Leaf{}, err)
		}
	}
}

// Hashes reads stored hashes by their tlog index; one that is missing is an error.
func (s *Store) Hashes(ctx context.Context) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			b, err := blob(s.at(ctx).row(`SELECT hash FROM log_hashes WHERE idx = ?`, x))
			if err != nil {
				return nil, fmt.Errorf("hash %d of the log: %w", x, err)
			}
			if copy(out[i][:], b) != tlog.HashSize || len(b) != tlog.HashSize {
				return nil, fmt.Errorf("hash %d of the log has %d bytes", x, len(b))
			}
		}
		return out, nil
	})
}

// AllLeaves gives every entry from 0 on, in pages, so that a long log neither
// fills memory nor holds one reading transaction.
func (s *Store) AllLeaves(ctx context.Context) iter.Seq2[Leaf, error] {
	const page = 1000
	return func(yield func(Leaf, error) bool) {
		for next, more := int64(0), true; more; {
			more = false
			for l, err := range s.at(ctx).page(next, page) {
				if !yield(l, err) || err != nil {
					return
				}
				next, more = l.Index+1, true
			}
		}
	}
}
