package store

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync/atomic"

	"github.com/openskr/openskr/release/keyvault"
)

// marks tell whoever remembers a row whether it was written since. A mark is the sum of
// two counters that only grow: one for the scope, which it may share with others, and
// one for everything. They grow after a commit and before anyone is told of it.
type marks struct {
	seed   maphash.Seed
	scopes [1 << 12]atomic.Int64
	all    atomic.Int64
}

// scope names what is written, in parts that hold no NUL.
func (m *marks) scope(parts ...string) *atomic.Int64 {
	var h maphash.Hash
	h.SetSeed(m.seed)
	for _, p := range parts {
		_, _ = h.WriteString(p) // never fails
		_ = h.WriteByte(0)
	}
	return &m.scopes[h.Sum64()%uint64(len(m.scopes))]
}

// mark is that of a scope. Where others may write at any time it is a new one each
// time, so that nobody believes what was remembered.
func (s *Store) mark(scope *atomic.Int64) int64 {
	if s.b.Foreign == "" {
		return s.marks.all.Add(1)
	}
	return s.marks.all.Load() + scope.Load()
}

// Mark implements [keyvault.Store].
func (s *Store) Mark(vault string, c keyvault.Collection, name string) int64 {
	return s.mark(s.keyScope(vault, c, name))
}

// ObjectMark is Mark for an object.
func (s *Store) ObjectMark(kind, name string) int64 {
	return s.mark(s.marks.scope("object", kind, name))
}

func (s *Store) keyScope(vault string, c keyvault.Collection, name string) *atomic.Int64 {
	return s.marks.scope("key", vault, string(c), keyvault.FoldName(name))
}

// touchKey notes that the transaction writes an object of a vault.
func (tx *Tx) touchKey(r *keyvault.Row) {
	tx.touched = append(tx.touched, tx.w.s.keyScope(r.Vault, r.Collection, r.Name), tx.w.s.keyScope(r.Vault, r.Collection, ""))
}

// ObjectMark is that of the store, and whether the object is as it was when the
// transaction began.
func (tx *Tx) ObjectMark(kind, name string) (mark int64, unwritten bool) {
	return tx.markOf(tx.w.s.marks.scope("object", kind, name))
}

// Mark is that of the store, and whether every version of the object is as it was when
// the transaction began.
func (tx *Tx) Mark(vault string, c keyvault.Collection, name string) (mark int64, unwritten bool) {
	return tx.markOf(tx.w.s.keyScope(vault, c, name))
}

func (tx *Tx) markOf(scope *atomic.Int64) (int64, bool) {
	return tx.w.s.mark(scope), !slices.Contains(tx.touched, scope)
}

// Foreign says how often somebody else, who is not this program, wrote to the database
// since it was opened. Nothing that was remembered before is believed after.
func (s *Store) Foreign() int64 { return s.foreign.Load() }

// Look notices, between transactions, whether somebody else committed since the last one.
// Begin does the same.
func (w *Writer) Look() error {
	if w.s.b.Foreign == "" {
		return nil
	}
	version, err := w.dataVersion()
	if err != nil {
		return fmt.Errorf("looking for commits of others: %w", err)
	}
	// A forced checkpoint of ours looks the same to the database.
	own := w.s.forced.Swap(false)
	changed := w.version != 0 && version != w.version
	if w.version == 0 {
		changed = w.s.unseen()
	}
	if changed && !own {
		w.s.foreign.Add(1)
	}
	if version != w.version {
		w.version = version
		w.s.marks.all.Add(1)
	}
	return nil
}

func (w *Writer) dataVersion() (version int64, err error) {
	st, err := w.stmt(w.s.b.Foreign)
	if err == nil {
		err = st.QueryRowContext(context.Background()).Scan(&version)
	}
	return version, err
}

// unseen says whether somebody else committed since the last writer was given up, or
// nobody can say. It forgets that one.
func (s *Store) unseen() bool {
	w := s.given
	if w == nil {
		return false
	}
	s.given = nil
	version, err := w.dataVersion()
	w.drop()
	return err != nil || version != w.version
}
