package keyvault

import (
	"context"
	"errors"
	"fmt"

	"github.com/openskr/openskr/release"
)

// Get gives a version's row, the latest when version is "". ReasonNotFound.
func (s *Service) Get(ctx context.Context, vault, name, version string) (*Row, error) {
	return s.live(ctx, Keys, release.KeyRef{Vault: vault, Name: name, Version: version})
}

// live gives the row of a version that is not deleted. ReasonNotFound.
func (s *Service) live(ctx context.Context, c Collection, ref release.KeyRef) (*Row, error) {
	row, err := s.row(ctx, c, ref)
	if errors.Is(err, ErrNotFound) {
		return nil, missing(release.ReasonNotFound, c, ref)
	}
	return row, err
}

func missing(reason release.Reason, c Collection, ref release.KeyRef) error {
	return release.Refuse(reason, "no %s/%.127q version %.32q in vault %.64q", c, ref.Name, ref.Version, ref.Vault)
}

// List gives the latest version of each object whose name sorts after `after`.
func (s *Service) List(ctx context.Context, vault string, c Collection, after string, limit int) ([]*Row, error) {
	if err := s.known(ctx, vault); err != nil {
		return nil, err
	}
	return remembered(s.kept.pages, pageKey(vault, c, after, limit), s.Store.Mark(vault, c, ""), func() ([]*Row, error) {
		rows, err := s.Store.Latest(ctx, vault, c, false, after, limit)
		if err != nil {
			return nil, err
		}
		return rows, s.genuineAll(ctx, rows)
	})
}

// Versions gives the versions of an object with Seq > after, oldest first; none when
// there is no such object, or it is deleted.
func (s *Service) Versions(ctx context.Context, vault string, c Collection, name string, after int64, limit int) ([]*Row, error) {
	if err := s.known(ctx, vault); err != nil {
		return nil, err
	}
	rows, err := s.Store.Versions(ctx, vault, c, name, after, limit)
	if err != nil {
		return nil, err
	}
	if err := s.genuineAll(ctx, rows); err != nil {
		return nil, err
	}
	if len(rows) > 0 && rows[0].Deleted != 0 {
		return nil, nil
	}
	return rows, nil
}

// Find implements [release.Keys].
func (s *Service) Find(ctx context.Context, ref release.KeyRef) (*release.Key, error) {
	row, err := s.row(ctx, Keys, ref)
	if errors.Is(err, ErrNotFound) || err == nil && row.Name != ref.Name { // a key URL has one spelling
		return nil, missing(release.ReasonKeyUnavailable, Keys, ref)
	}
	if err != nil {
		return nil, err
	}
	return s.metadata(row), nil
}

// Lookup implements [release.Keys].
func (s *Service) Lookup(ctx context.Context, ref release.KeyRef) (*release.Key, error) {
	row, err := s.Get(ctx, ref.Vault, ref.Name, ref.Version)
	if err != nil {
		return nil, err
	}
	return s.metadata(row), nil
}

// metadata is a row without what is sealed.
func (s *Service) metadata(row *Row) *release.Key {
	ref := release.KeyRef{Vault: row.Vault, Name: row.Name, Version: row.Version}
	return &release.Key{
		Ref: ref, Collection: row.Collection, KID: s.url(row.Collection, ref), ObjectID: row.ObjectID, Generation: row.Generation, Kty: row.Kty,
		Attributes: row.Attributes, Tags: row.Tags, Policy: row.Policy, AttestedOnly: row.AttestedOnly,
		Crv: row.Crv, KeyOps: row.KeyOps, Public: row.Public, Created: row.Created, Updated: row.Updated,
	}
}

// Open implements [release.Keys]. What is opened is what the grant's record names, or
// nothing: the append of that record held it against the database.
func (s *Service) Open(ctx context.Context, g *release.Grant) ([]byte, error) {
	k, err := g.Use()
	if err != nil {
		return nil, err
	}
	return s.openAs(ctx, k)
}

// openAs opens the version that a record names, if it still is what the record says.
func (s *Service) openAs(ctx context.Context, k *release.Key) ([]byte, error) {
	row, err := s.read(ctx, k.Collection, k.Ref)
	if errors.Is(err, ErrNotFound) {
		return nil, release.Refuse(release.ReasonStateChanged, "key %s is gone", k.KID)
	}
	if err != nil {
		return nil, err
	}
	if row.Vault != k.Ref.Vault || row.Collection != k.Collection || row.Name != k.Ref.Name || row.Version != k.Ref.Version ||
		row.ObjectID != k.ObjectID || row.Generation != k.Generation { // deleting it is a generation too
		return nil, release.Refuse(release.ReasonStateChanged, "key %s changed after the decision", k.KID)
	}
	return s.open(ctx, row)
}

// row gives a version that is not deleted. ErrNotFound.
func (s *Service) row(ctx context.Context, c Collection, ref release.KeyRef) (*Row, error) {
	row, err := s.read(ctx, c, ref)
	if err != nil {
		return nil, err
	}
	if row.Deleted != 0 {
		return nil, ErrNotFound
	}
	return row, nil
}

// read gives a version, deleted or not, that is genuine and the one asked for.
func (s *Service) read(ctx context.Context, c Collection, ref release.KeyRef) (*Row, error) {
	rows, err := remembered(s.kept.rows, rowKey(ref.Vault, c, ref.Name, ref.Version), s.Store.Mark(ref.Vault, c, ref.Name), func() ([]*Row, error) {
		row, err := s.Store.Row(ctx, ref.Vault, c, ref.Name, ref.Version)
		if err != nil {
			return nil, err
		}
		if row.Vault != ref.Vault || row.Collection != c || FoldName(row.Name) != FoldName(ref.Name) || ref.Version != "" && row.Version != ref.Version {
			return nil, broken(row, errIntegrity)
		}
		return []*Row{row}, s.genuineAll(ctx, []*Row{row})
	})
	if err != nil {
		return nil, err
	}
	own := *rows[0] // whoever gets it may fill in columns
	return &own, nil
}

func (s *Service) genuineAll(ctx context.Context, rows []*Row) error {
	for _, row := range rows {
		dek, err := s.rowDEK(ctx, row)
		if err != nil {
			return err
		}
		err = genuine(dek, s.Deployment, row)
		clear(dek)
		if err != nil {
			return err
		}
	}
	return nil
}

// genuine refuses a row whose columns are not the sealed ones; nothing is opened.
func genuine(dek []byte, deployment string, row *Row) error {
	key, _, err := authentic(dek, deployment, row)
	clear(key)
	return broken(row, err)
}

func (s *Service) open(ctx context.Context, row *Row) ([]byte, error) {
	dek, err := s.rowDEK(ctx, row)
	if err != nil {
		return nil, err
	}
	defer clear(dek)
	payload, err := unseal(dek, s.Deployment, row)
	return payload, broken(row, err)
}

// rowDEK opens the vault key that a row names. A row that names one that does not
// exist was not made here.
func (s *Service) rowDEK(ctx context.Context, row *Row) ([]byte, error) {
	dek, err := s.dek(ctx, row.Vault, row.DEKEpoch)
	if errors.Is(err, ErrNotFound) {
		return nil, broken(row, fmt.Errorf("no vault key of epoch %d", row.DEKEpoch))
	}
	return dek, err
}

// warm opens, outside any transaction, the vault key that a change will need.
func (s *Service) warm(ctx context.Context, vault string, c Collection, name, version string) error {
	row, err := s.Store.Row(ctx, vault, c, name, version)
	if err != nil {
		return err
	}
	dek, err := s.rowDEK(ctx, row)
	clear(dek)
	return err
}

// broken says which row cannot be believed.
func broken(row *Row, err error) error {
	if err == nil {
		return nil
	}
	return release.Refuse(release.ReasonIntegrity, "%s/%.127q version %.32q: %w; restore it from a backup", row.Collection, row.Name, row.Version, err)
}
