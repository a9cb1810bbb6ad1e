package keyvault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// Purge takes a deleted object away for good. ReasonPurgeProtected in a vault that is
// protected from it.
func (s *Service) Purge(ctx context.Context, vault string, c Collection, name string) error {
	return s.purge(ctx, vault, c, name, func(tx Tx, _ *Row) error {
		v, err := vaultIn(tx, vault)
		if err == nil && v.PurgeProtection {
			return release.Refuse(release.ReasonPurgeProtected, "vault %s is protected: %s/%s is purged when its retention is over", vault, c, name)
		}
		return err
	})
}

// PurgeDue purges everything whose retention is over and says how many objects that
// were. What can be purged is; the errors of the others come together. With a clock
// that is not believed it does nothing.
func (s *Service) PurgeDue(ctx context.Context) (n int, err error) {
	if err := s.clock(); err != nil {
		return 0, err
	}
	const page = 100
	now, errs := s.Now().Unix(), []error(nil)
	for after := (*Row)(nil); ; {
		rows, err := s.Store.Due(ctx, now, after, page)
		if err != nil || len(rows) == 0 {
			return n, errors.Join(append(errs, err)...)
		}
		for _, r := range rows {
			err := s.purge(ctx, r.Vault, r.Collection, r.Name, func(_ Tx, latest *Row) error {
				if latest.Purge > now {
					return ErrNotFound // recovered, and deleted again
				}
				return nil
			})
			switch {
			case err == nil:
				n++
			case release.ReasonOf(err) != release.ReasonNotFound: // else another change came first
				errs = append(errs, fmt.Errorf("purge of %s/%s in vault %s: %w", r.Collection, r.Name, r.Vault, err))
			}
			after = r
		}
	}
}

func (s *Service) purge(ctx context.Context, vault string, c Collection, name string, allowed func(tx Tx, latest *Row) error) error {
	_, err := s.every(ctx, objectChange{op: "purge", vault: vault, collection: c, name: name, deleted: true, edit: func(tx Tx, rec *release.Record, rows []*Row) error {
		if err := allowed(tx, rows[len(rows)-1]); err != nil {
			return err
		}
		if err := errors.Join(withdraw(tx, rec, rows), s.bury(tx, rows)); err != nil {
			return err
		}
		for _, r := range rows {
			if err := tx.Remove(r); err != nil {
				return err
			}
		}
		return nil
	}})
	return err
}

// objectTombstone is the kind of object that a purge leaves, named by the object id.
const objectTombstone = "tombstone"

// tombstone is what is remembered of a purged object, so that no backup brings it back
// weaker than it was: the rules of each version, and nothing of what was sealed.
type tombstone struct {
	Vault      string     `json:"vault"`
	Collection Collection `json:"collection"`
	Name       string     `json:"name"`
	Purged     int64      `json:"purged"` // Unix seconds
	Versions   []rules    `json:"versions"`
}

// rules are the columns of a version that say who may have it, and when.
type rules struct {
	Version      string             `json:"version"`
	Seq          int64              `json:"seq"`
	Attributes   release.Attributes `json:"attributes"`
	AttestedOnly bool               `json:"attested_only,omitempty"`
	KeyOps       []string           `json:"key_ops,omitempty"`
	Tags         map[string]string  `json:"tags,omitempty"` // policies see them
	Policy       receipt.Digest     `json:"policy"`         // zero: none
	PolicyType   string             `json:"policy_type,omitempty"`
	Immutable    bool               `json:"policy_immutable,omitempty"`
}

func rulesOf(r *Row) rules {
	return rules{
		Version: r.Version, Seq: r.Seq, Attributes: r.Attributes, AttestedOnly: r.AttestedOnly, KeyOps: r.KeyOps, Tags: r.Tags,
		Policy: r.Policy.Digest, PolicyType: r.Policy.ContentType, Immutable: r.Policy.Immutable,
	}
}

// impose puts k in place of what a backup says. Exportable is fixed when a version is
// made, so that the backup has it right; so it has an immutable policy, and
// attested-only, when k is of another version.
func (k *rules) impose(tx Tx, r *Row) error {
	exportable, another := r.Attributes.Exportable, k.Version != r.Version
	r.Attributes, r.KeyOps, r.Tags = k.Attributes, k.KeyOps, k.Tags
	r.Attributes.Exportable = exportable
	if r.AttestedOnly = k.AttestedOnly || another && r.AttestedOnly; r.AttestedOnly {
		r.KeyOps = []string{}
	}
	if another && r.Policy.Immutable {
		return nil
	}
	if k.PolicyType == "" {
		r.Policy = release.ReleasePolicy{}
		return nil
	}
	p, err := tx.Policy([32]byte(k.Policy))
	if errors.Is(err, ErrNotFound) {
		return release.Refuse(release.ReasonIntegrity, "the newest policy of %s is not in the store", r.Name)
	}
	if err != nil {
		return err
	}
	r.Policy = release.ReleasePolicy{ContentType: k.PolicyType, Data: p.Data, Digest: p.Digest, Immutable: k.Immutable}
	return nil
}

// bury writes the tombstone of rows over an older one, of which it keeps what rows do
// not have: a backup in between may have had fewer versions.
func (s *Service) bury(tx Tx, rows []*Row) error {
	t, err := tombstoneOf(tx, rows[0].ObjectID)
	if err != nil {
		return err
	}
	if t == nil {
		t = &tombstone{}
	}
	t.Vault, t.Collection, t.Name, t.Purged = rows[0].Vault, rows[0].Collection, rows[0].Name, s.Now().Unix()
	t.Versions = slices.DeleteFunc(t.Versions, func(k rules) bool {
		return slices.ContainsFunc(rows, func(r *Row) bool { return r.Version == k.Version })
	})
	for _, r := range rows {
		t.Versions = append(t.Versions, rulesOf(r))
	}
	value, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return tx.PutObject(objectTombstone, rows[0].ObjectID, value)
}

// tombstoneOf gives that of an object id, nil when it was never purged.
func tombstoneOf(tx Tx, objectID string) (*tombstone, error) {
	o, err := tx.Object(objectTombstone, objectID)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var t tombstone
	if err := json.Unmarshal(o.Value, &t); err != nil || len(t.Versions) == 0 {
		return nil, release.Refuse(release.ReasonIntegrity, "tombstone of %s: %w", objectID, errors.Join(err, errIntegrity))
	}
	return &t, nil
}

// of gives the newest rules of a version, those of the newest version that the
// tombstone knows for one that it does not.
func (t *tombstone) of(version string) *rules {
	newest := &t.Versions[0]
	for i := range t.Versions {
		if k := &t.Versions[i]; k.Version == version {
			return k
		} else if k.Seq >= newest.Seq {
			newest = k
		}
	}
	return newest
}
