package releasetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// Due implements keyvault.Store.
func (s *Store) Due(_ context.Context, now int64, after *keyvault.Row, limit int) ([]*keyvault.Row, error) {
	s.called("Due")
	s.mu.Lock()
	defer s.mu.Unlock()
	latest := map[string]*keyvault.Row{}
	for _, r := range s.Rows {
		object := rowKey(r.Vault, r.Collection, r.Name, "")
		if old := latest[object]; old == nil || r.Seq > old.Seq {
			latest[object] = r
		}
	}
	var out []*keyvault.Row
	for _, r := range latest {
		if r.Purge > 0 && r.Purge <= now && (after == nil || place(r, after) > 0) {
			out = append(out, copyRow(r))
		}
	}
	slices.SortFunc(out, place)
	return out[:min(limit, len(out))], nil
}

// place compares objects by vault, collection and name.
func place(a, b *keyvault.Row) int {
	return cmp.Or(strings.Compare(a.Vault, b.Vault), strings.Compare(string(a.Collection), string(b.Collection)),
		strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)))
}

func (tx *storeTx) Versions(vault string, c keyvault.Collection, name string) ([]*keyvault.Row, error) {
	var out []*keyvault.Row
	for _, r := range versions(tx.rows, vault, c, name, 0) {
		out = append(out, copyRow(r))
	}
	return out, nil
}

func (tx *storeTx) Remove(r *keyvault.Row) error {
	k := rowKey(r.Vault, r.Collection, r.Name, r.Version)
	if old := tx.rows[k]; old == nil || old.Generation != r.Generation {
		return fmt.Errorf("%w: version %s changed", keyvault.ErrConflict, k)
	}
	delete(tx.rows, k)
	tx.generations[r.ObjectID+"/"+r.Version] = r.Generation + 1
	return nil
}

func (tx *storeTx) Generation(objectID, version string) (int64, error) {
	return tx.generations[objectID+"/"+version], nil
}

func (tx *storeTx) Policy(digest [32]byte) (*release.ReleasePolicy, error) {
	if p, ok := tx.policies[digest]; ok {
		p.Data = bytes.Clone(p.Data)
		return &p, nil
	}
	return nil, keyvault.ErrNotFound
}

func (tx *storeTx) Object(kind, name string) (*release.Object, error) {
	if o := tx.docs[kind+"/"+name]; o != nil {
		return copyObject(o), nil
	}
	return nil, keyvault.ErrNotFound
}

func (tx *storeTx) PutObject(kind, name string, value []byte) error {
	o := &release.Object{Kind: kind, Name: name, Generation: 1, Index: tx.index, Value: bytes.Clone(value)}
	if old := tx.docs[kind+"/"+name]; old != nil {
		o.Generation = old.Generation + 1
	}
	tx.docs[kind+"/"+name] = o
	return nil
}
