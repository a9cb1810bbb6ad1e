package keyvault

import (
	"bytes"
	"context"
	"errors"

	"github.com/openskr/openskr/release"
)

// Settings are what an owner says about a key version. nil means not said: the
// default for a new key, the latest version's value for a new version, unchanged
// for an update.
type Settings struct {
	Enabled            *bool
	NotBefore, Expires *int64                 // Unix seconds, 0 removes
	KeyOps             []string               // not nil: exactly these
	Tags               map[string]string      // not nil: exactly these
	Policy             *release.ReleasePolicy // Digest is computed here
	AttestedOnly       *bool                  // can be set, never reset
}

// CreateKey asks for a new key, or a new version of one that exists.
type CreateKey struct {
	Kty            string // KtyRSA, KtyEC, KtyOct
	Crv            string // EC only
	Size           int    // bits, 0: the default of the type
	PublicExponent int    // RSA, 0 or 65537
	Exportable     *bool  // false by default, true for an attested-only key
	Settings
}

// ImportKey brings material that was made elsewhere.
type ImportKey struct {
	Material   *Material // cleared by Import
	Exportable *bool
	Settings
}

// UpdateKey changes a version in place. Exportable never changes; a door passes
// the member on so that an attempt is refused.
type UpdateKey struct {
	Exportable *bool
	Settings
}

// Create makes a key version with new material.
func (s *Service) Create(ctx context.Context, vault, name string, in CreateKey) (*Row, error) {
	if in.PublicExponent != 0 && (in.Kty != KtyRSA || in.PublicExponent != publicExponent) {
		return nil, invalid("public_exponent must be %d, on an RSA key", publicExponent)
	}
	if err := s.admit(ctx, vault, name, &in.Settings); err != nil {
		return nil, err
	}
	m, err := Generate(in.Kty, in.Crv, in.Size)
	if err != nil {
		return nil, err
	}
	return s.addKey(ctx, "keys/create", vault, name, m, in.Exportable, in.Settings)
}

// Import makes a key version of material made elsewhere, and clears it.
func (s *Service) Import(ctx context.Context, vault, name string, in ImportKey) (*Row, error) {
	defer in.Material.Clear()
	if in.Material == nil || in.Material.payload == nil {
		return nil, invalid("no key material")
	}
	if err := s.admit(ctx, vault, name, &in.Settings); err != nil {
		return nil, err
	}
	return s.addKey(ctx, "keys/import", vault, name, in.Material, in.Exportable, in.Settings)
}

// admit judges what can be judged before the material and the transaction: a
// policy is compiled in another process and may take a while.
func (s *Service) admit(ctx context.Context, vault, name string, in *Settings) error {
	if err := s.Ready(ctx); err != nil {
		return err
	}
	if err := named(vault, name); err != nil {
		return err
	}
	return s.sound(ctx, in)
}

// addKey seals m as the next version of the key, and clears it.
func (s *Service) addKey(ctx context.Context, op, vault, name string, m *Material, exportable *bool, in Settings) (*Row, error) {
	defer m.Clear()
	return s.add(ctx, addition{
		op: op, vault: vault, collection: Keys, name: name, payload: m.payload,
		draft: func(last *Row) (*Row, error) { return s.draft(last, vault, name, m, exportable, in) },
	})
}

// addition is a version in the making.
type addition struct {
	op, vault  string
	collection Collection
	name       string
	payload    []byte // not cleared
	// draft makes the row after last, the latest version, nil for a new object. It
	// runs in the transaction, and again when another change came first.
	draft func(last *Row) (*Row, error)
}

// add seals the payload as the next version, in the transaction of its record.
func (s *Service) add(ctx context.Context, a addition) (*Row, error) {
	for range conflictRetries {
		row, err := s.tryAdd(ctx, a)
		if !errors.Is(err, ErrConflict) {
			return row, err
		}
	}
	return nil, contended(a.collection, a.name)
}

// conflictRetries bounds how often a change starts over because another one came first.
const conflictRetries = 5

func contended(c Collection, name string) error {
	return release.Refuse(release.ReasonConflict, "%s/%s is being changed by others, try again", c, name)
}

// tryAdd gives the transaction copies of its own of everything secret, see [lent].
func (s *Service) tryAdd(ctx context.Context, a addition) (*Row, error) {
	dek, storeDEK, err := s.currentDEK(ctx, a.vault)
	if err != nil {
		return nil, err
	}
	payload := bytes.Clone(a.payload)
	own := lend(dek, payload)
	defer own.recall()
	if err := s.warm(ctx, a.vault, a.collection, a.name, ""); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	var row *Row
	rec, right := s.Record(ctx, a.op), s.right(ctx)
	_, err = s.Store.Change(ctx, rec, func(tx Tx, index int64) error {
		if err := own.take(); err != nil {
			return err
		}
		defer own.clear()
		if err := entitled(tx, right); err != nil {
			return err
		}
		last, err := s.previous(tx, a.vault, a.collection, a.name)
		if err != nil {
			return err
		}
		if row, err = a.draft(last); err != nil {
			return err
		}
		row.CreatedIndex = index
		if err := seal(dek, s.Deployment, row, payload); err != nil {
			return err
		}
		if storeDEK != nil {
			if err := storeDEK(tx); err != nil {
				return err
			}
		}
		describe(rec, row)
		return tx.Insert(row)
	})
	if err != nil {
		return nil, err
	}
	return row, nil
}

// Update changes a version, the latest when version is "". The payload is opened
// and sealed again under the new columns, so a row that was tampered with is
// refused, not made good.
func (s *Service) Update(ctx context.Context, vault, name, version string, in UpdateKey) (*Row, error) {
	if err := s.sound(ctx, &in.Settings); err != nil {
		return nil, err
	}
	return s.change(ctx, "keys/update", vault, Keys, name, version, func(old *Row) (*Row, error) { return s.revise(old, in) })
}

// change replaces one version, the latest when version is "", by what revise makes
// of it, in the transaction of its record.
func (s *Service) change(ctx context.Context, op, vault string, c Collection, name, version string, revise func(old *Row) (*Row, error)) (*Row, error) {
	if err := named(vault, name); err != nil {
		return nil, err
	}
	if version != "" && !ValidVersion(version) {
		return nil, release.Refuse(release.ReasonBadRequest, "version is not 32 lower-case hex digits")
	}
	for range conflictRetries {
		row, err := s.tryChange(ctx, op, vault, c, name, version, revise)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil, missing(release.ReasonNotFound, c, release.KeyRef{Vault: vault, Name: name, Version: version})
		case !errors.Is(err, ErrConflict):
			return row, err
		}
	}
	return nil, contended(c, name)
}

func (s *Service) tryChange(ctx context.Context, op, vault string, c Collection, name, version string, revise func(old *Row) (*Row, error)) (*Row, error) {
	if err := s.warm(ctx, vault, c, name, version); err != nil {
		return nil, err
	}
	var row *Row
	rec, right := s.Record(ctx, op), s.right(ctx)
	_, err := s.Store.Change(ctx, rec, func(tx Tx, _ int64) error {
		if err := entitled(tx, right); err != nil {
			return err
		}
		old, err := tx.Row(vault, c, name, version)
		if err != nil {
			return err
		}
		if old.Deleted != 0 {
			return ErrNotFound
		}
		if row, err = revise(old); err != nil {
			return err
		}
		if err := s.reseal(old, row); err != nil {
			return err
		}
		describe(rec, row)
		return tx.Update(row, old.Generation)
	})
	if err != nil {
		return nil, err
	}
	return row, nil
}

// previous gives the latest version inside a transaction, nil when there is none.
func (s *Service) previous(tx Tx, vault string, c Collection, name string) (*Row, error) {
	last, err := tx.Row(vault, c, name, "")
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.believed(last); err != nil {
		return nil, err
	}
	if last.Deleted != 0 {
		return nil, release.Refuse(release.ReasonDeleted, "%s %s is deleted: recover it, or purge it first", last.Collection, last.Name)
	}
	if last.Seq >= maxVersions {
		return nil, release.Refuse(release.ReasonConflict, "%s %s has %d versions, the limit: make one of another name", last.Collection, last.Name, last.Seq)
	}
	return last, nil
}

// reseal moves the payload of old under the columns of row.
func (s *Service) reseal(old, row *Row) error {
	dek := s.deks.get(dekName(old.Vault, old.DEKEpoch))
	if dek == nil {
		return ErrConflict
	}
	defer clear(dek)
	payload, err := unseal(dek, s.Deployment, old)
	if err != nil {
		return broken(old, err)
	}
	defer clear(payload)
	return seal(dek, s.Deployment, row, payload)
}
