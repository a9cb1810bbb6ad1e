// Package releasetest has the ports of release and release/keyvault in memory,
// for tests of what stands on them.
package releasetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// Store is a keyvault.Store, release.Objects and release.Log in memory. A change
// that fails leaves nothing behind. Its receipts have leaf and index and no proof.
// Rows and Secrets may be edited by tests, which is what a database administrator
// could do; take no lock, so not while the Store is in use.
type Store struct {
	Rows    map[string]*keyvault.Row // by vault/collection/name/version
	Secrets map[string][]byte
	Docs    map[string]*release.Object // by kind/name
	Leaves  []*release.Record
	Counted map[release.Reason]int // refusals of strangers
	Now     func() time.Time       // time.Now when nil
	// Fault, when set, makes a Change or Append fail before it is durable.
	Fault func(rec *release.Record) error
	// Before, when set, is told every read and change by the name of its method.
	Before func(method string)

	mu          sync.Mutex
	marks       atomic.Int64
	nonces      map[[32]byte]bool
	generations map[string]int64 // of every version that was ever there, by object id/version
	policies    map[[32]byte]release.ReleasePolicy
}

var (
	_ keyvault.Store  = (*Store)(nil)
	_ release.Objects = (*Store)(nil)
	_ release.Log     = (*Store)(nil)
)

// NewStore gives an empty Store.
func NewStore() *Store {
	return &Store{
		Rows: map[string]*keyvault.Row{}, Secrets: map[string][]byte{}, Docs: map[string]*release.Object{},
		Counted: map[release.Reason]int{}, nonces: map[[32]byte]bool{},
		generations: map[string]int64{}, policies: map[[32]byte]release.ReleasePolicy{},
	}
}

func (s *Store) called(method string) {
	if s.Before != nil {
		s.Before(method)
	}
}

// Row implements keyvault.Store.
func (s *Store) Row(_ context.Context, vault string, c keyvault.Collection, name, version string) (*keyvault.Row, error) {
	s.called("Row")
	s.mu.Lock()
	defer s.mu.Unlock()
	return find(s.Rows, vault, c, name, version)
}

func find(rows map[string]*keyvault.Row, vault string, c keyvault.Collection, name, version string) (*keyvault.Row, error) {
	if version != "" {
		if r := rows[rowKey(vault, c, name, version)]; r != nil {
			return copyRow(r), nil
		}
		return nil, keyvault.ErrNotFound
	}
	all := versions(rows, vault, c, name, 0)
	if len(all) == 0 {
		return nil, keyvault.ErrNotFound
	}
	return copyRow(all[len(all)-1]), nil
}

func rowKey(vault string, c keyvault.Collection, name, version string) string {
	return vault + "/" + string(c) + "/" + strings.ToLower(name) + "/" + version
}

func versions(rows map[string]*keyvault.Row, vault string, c keyvault.Collection, name string, after int64) []*keyvault.Row {
	var out []*keyvault.Row
	for _, r := range rows {
		if r.Vault == vault && r.Collection == c && strings.EqualFold(r.Name, name) && r.Seq > after {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *keyvault.Row) int { return cmp.Compare(a.Seq, b.Seq) })
	return out
}

func copyRow(r *keyvault.Row) *keyvault.Row {
	c := *r
	c.KeyOps, c.Tags, c.Policy.Data = slices.Clone(r.KeyOps), maps.Clone(r.Tags), bytes.Clone(r.Policy.Data)
	c.Public, c.Salt = bytes.Clone(r.Public), bytes.Clone(r.Salt)
	c.Commitment, c.Sealed = bytes.Clone(r.Commitment), bytes.Clone(r.Sealed)
	return &c
}

// Latest implements keyvault.Store.
func (s *Store) Latest(_ context.Context, vault string, c keyvault.Collection, deleted bool, after string, limit int) ([]*keyvault.Row, error) {
	s.called("Latest")
	s.mu.Lock()
	defer s.mu.Unlock()
	latest := map[string]*keyvault.Row{}
	for _, r := range s.Rows {
		if old := latest[r.Name]; r.Vault == vault && r.Collection == c && (r.Deleted != 0) == deleted && r.Name > after && (old == nil || r.Seq > old.Seq) {
			latest[r.Name] = r
		}
	}
	var out []*keyvault.Row
	for _, name := range slices.Sorted(maps.Keys(latest)) {
		if len(out) < limit {
			out = append(out, copyRow(latest[name]))
		}
	}
	return out, nil
}

// Versions implements keyvault.Store.
func (s *Store) Versions(_ context.Context, vault string, c keyvault.Collection, name string, after int64, limit int) ([]*keyvault.Row, error) {
	s.called("Versions")
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*keyvault.Row
	for _, r := range versions(s.Rows, vault, c, name, after) {
		if len(out) < limit {
			out = append(out, copyRow(r))
		}
	}
	return out, nil
}

// Mark implements keyvault.Store. It never stays: tests edit what is stored.
func (s *Store) Mark(string, keyvault.Collection, string) int64 { return s.marks.Add(1) }

// Secret implements keyvault.Store.
func (s *Store) Secret(_ context.Context, name string) ([]byte, error) {
	s.called("Secret")
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.Secrets[name]; ok {
		return bytes.Clone(v), nil
	}
	return nil, keyvault.ErrNotFound
}

// Change implements keyvault.Store.
func (s *Store) Change(_ context.Context, rec *release.Record, fn func(tx keyvault.Tx, index int64) error) (*release.Committed, error) {
	s.called("Change")
	s.mu.Lock()
	defer s.mu.Unlock()
	tx := &storeTx{
		rows: maps.Clone(s.Rows), secrets: maps.Clone(s.Secrets), docs: maps.Clone(s.Docs), index: int64(len(s.Leaves)),
		generations: maps.Clone(s.generations), policies: maps.Clone(s.policies),
	}
	if err := fn(tx, int64(len(s.Leaves))); err != nil {
		return nil, err
	}
	done, err := s.commit(rec)
	if err == nil {
		s.Rows, s.Secrets, s.Docs, s.generations, s.policies = tx.rows, tx.secrets, tx.docs, tx.generations, tx.policies
	}
	return done, err
}

// commit adds rec to the log. The caller holds the lock.
func (s *Store) commit(rec *release.Record) (*release.Committed, error) {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	written := *rec
	written.Time = now().UnixMilli()
	leaf, err := written.Encode()
	if err != nil {
		return nil, err
	}
	if s.Fault != nil {
		if err := s.Fault(&written); err != nil {
			return nil, err
		}
	}
	s.Leaves = append(s.Leaves, &written)
	r := &release.Receipt{Leaf: leaf, Index: int64(len(s.Leaves) - 1)}
	return &release.Committed{Record: &written, Receipt: r, At: now()}, nil
}

// Append implements release.Log: the guard's nonce, key and machine are judged again.
func (s *Store) Append(_ context.Context, e release.Entry) (*release.Committed, error) {
	s.called("Append")
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := *e.Record
	if why := s.guard(e.Guard); why != "" && rec.Decision == receipt.Allow {
		rec.Decision, rec.Reason = receipt.Deny, string(why)
	}
	done, err := s.commit(&rec)
	if err == nil && e.Guard != nil && e.Guard.Nonce != [32]byte{} {
		s.nonces[e.Guard.Nonce] = true
	}
	return done, err
}

func (s *Store) guard(g *release.Guard) release.Reason {
	switch {
	case g == nil:
		return ""
	case s.nonces[g.Nonce]:
		return release.ReasonNonceReplayed
	case g.Key == nil:
		return ""
	}
	version := g.Key.Ref.Version
	if g.Latest {
		version = ""
	}
	r, err := find(s.Rows, g.Key.Ref.Vault, g.Key.Collection, g.Key.Ref.Name, version)
	if err != nil || r.Version != g.Key.Ref.Version || r.Generation != g.Key.Generation || r.ObjectID != g.Key.ObjectID {
		return release.ReasonStateChanged
	}
	for _, was := range g.Objects {
		generation := int64(0)
		if o := s.Docs[was.Kind+"/"+was.Name]; o != nil {
			generation = o.Generation
		}
		if generation != was.Generation {
			return release.ReasonStateChanged
		}
	}
	if g.Operation && s.Now != nil {
		if err := g.Key.Valid(s.Now()); err != nil {
			return release.ReasonOf(err)
		}
	}
	return ""
}

// Refused implements release.Log.
func (s *Store) Refused(why error, _, _ string) {
	s.called("Refused")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Counted[release.ReasonOf(why)]++
}

// Object implements release.Objects.
func (s *Store) Object(_ context.Context, kind, name string) (*release.Object, error) {
	s.called("Object")
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.Docs[kind+"/"+name]; o != nil {
		return copyObject(o), nil
	}
	return nil, release.Refuse(release.ReasonNotFound, "no %s %q", kind, name)
}

func copyObject(o *release.Object) *release.Object {
	if o == nil {
		return nil
	}
	c := *o
	c.Value = bytes.Clone(o.Value)
	return &c
}

// List implements release.Objects.
func (s *Store) List(_ context.Context, kind, after string, limit int) ([]*release.Object, error) {
	s.called("List")
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*release.Object
	for _, k := range slices.Sorted(maps.Keys(s.Docs)) {
		if o := s.Docs[k]; o.Kind == kind && o.Name > after && len(out) < limit {
			out = append(out, copyObject(o))
		}
	}
	return out, nil
}

// ChangeObject implements release.Objects.
func (s *Store) ChangeObject(_ context.Context, rec *release.Record, kind, name string, fn func(old *release.Object) ([]byte, error)) (*release.Committed, error) {
	s.called("ChangeObject")
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.Docs[kind+"/"+name]
	value, err := fn(copyObject(old))
	if err != nil {
		return nil, err
	}
	o := &release.Object{Kind: kind, Name: name, Generation: 1, Index: int64(len(s.Leaves)), Value: value}
	if old != nil {
		o.Generation = old.Generation + 1
	}
	done, err := s.commit(rec)
	if err == nil {
		s.Docs[kind+"/"+name] = o
	}
	return done, err
}

// storeTx works on copies of the maps; what is in them is replaced, never edited.
type storeTx struct {
	rows        map[string]*keyvault.Row
	secrets     map[string][]byte
	docs        map[string]*release.Object
	generations map[string]int64
	policies    map[[32]byte]release.ReleasePolicy
	index       int64 // of the record of this change
}

func (tx *storeTx) Row(vault string, c keyvault.Collection, name, version string) (*keyvault.Row, error) {
	return find(tx.rows, vault, c, name, version)
}

func (tx *storeTx) Insert(r *keyvault.Row) error {
	k := rowKey(r.Vault, r.Collection, r.Name, r.Version)
	for _, old := range versions(tx.rows, r.Vault, r.Collection, r.Name, 0) {
		if old.Version == r.Version || old.Seq == r.Seq {
			return fmt.Errorf("%w: version %s exists", keyvault.ErrConflict, k)
		}
	}
	tx.put(k, r)
	return nil
}

func (tx *storeTx) put(k string, r *keyvault.Row) {
	r = copyRow(r)
	tx.rows[k], tx.generations[r.ObjectID+"/"+r.Version] = r, r.Generation
	if len(r.Policy.Data) > 0 {
		tx.policies[r.Policy.Digest] = release.ReleasePolicy{ContentType: r.Policy.ContentType, Data: r.Policy.Data, Digest: r.Policy.Digest}
	}
}

func (tx *storeTx) Update(r *keyvault.Row, from int64) error {
	k := rowKey(r.Vault, r.Collection, r.Name, r.Version)
	if old := tx.rows[k]; old == nil || old.Generation != from {
		return fmt.Errorf("%w: version %s changed", keyvault.ErrConflict, k)
	}
	tx.put(k, r)
	return nil
}

func (tx *storeTx) PutSecret(name string, value []byte) error {
	if _, ok := tx.secrets[name]; ok {
		return fmt.Errorf("%w: secret %s exists", keyvault.ErrConflict, name)
	}
	tx.secrets[name] = bytes.Clone(value)
	return nil
}

func (tx *storeTx) ReplaceSecret(name string, value []byte) error {
	if _, ok := tx.secrets[name]; !ok {
		return fmt.Errorf("%w: secret %s", keyvault.ErrNotFound, name)
	}
	tx.secrets[name] = bytes.Clone(value)
	return nil
}
