package keyvault

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/openskr/openskr/release"
)

// How long a grant to make a disk may stay open.
const (
	minGrant = time.Minute
	maxGrant = 30 * 24 * time.Hour
)

// diskBits is the length of the one key that disks are made with.
const diskBits = 256

// GrantFormat lets a machine, any that the release policy allows when machine is "", make
// a LUKS disk with a key version (the latest when version is "") once within life. It
// takes the place of a grant that was there, so that there is one at most. In the same
// transaction the version gets [release.TagLUKSOnly], if it has it not: what may be made
// with a grant alone must not be had without one.
// Errors besides those of [Service.Update]: ReasonBadRequest for a key that is no disk's.
func (s *Service) GrantFormat(ctx context.Context, vault, name, version, machine string, life time.Duration) (*release.FormatGrant, error) {
	if life < minGrant || life > maxGrant {
		return nil, release.Refuse(release.ReasonBadRequest, "a grant stays open for %v to %v, not %v", minGrant, maxGrant, life)
	}
	var g *release.FormatGrant
	err := s.granting(ctx, "keys/grantformat", vault, name, version, func(tx Tx, rec *release.Record, index int64, row *Row) error {
		if row.Kty != KtyOct || row.Size != diskBits || !row.Attributes.Exportable {
			return release.Refuse(release.ReasonBadRequest, "key %s is no disk's: that is an oct key of %d bits with a release policy", row.Name, diskBits)
		}
		row, err := s.onlyLUKS(tx, row)
		if err != nil {
			return err
		}
		now := s.Now().Unix()
		g = &release.FormatGrant{
			Vault: row.Vault, Key: row.Name, ObjectID: row.ObjectID, Version: row.Version, Machine: machine,
			Granted: now, Until: now + int64(life/time.Second), State: release.FormatOpen, Index: index,
		}
		describe(rec, row)
		rec.Detail["machine"], rec.Detail["until"] = machine, strconv.FormatInt(g.Until, 10)
		return putGrant(tx, g)
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// RevokeFormat ends an open grant. ReasonNotFound when there is none.
func (s *Service) RevokeFormat(ctx context.Context, vault, name, version string) (*release.FormatGrant, error) {
	var g *release.FormatGrant
	err := s.granting(ctx, "keys/revokeformat", vault, name, version, func(tx Tx, rec *release.Record, index int64, row *Row) error {
		o, err := tx.Object(release.ObjectFormatGrant, release.FormatGrantName(row.Vault, row.ObjectID, row.Version))
		if errors.Is(err, ErrNotFound) {
			return release.Refuse(release.ReasonNotFound, "nobody has granted to make a disk with version %s of key %s", row.Version, row.Name)
		}
		if err != nil {
			return err
		}
		if g, err = release.ReadFormatGrant(o); err != nil {
			return err
		}
		if g.State != release.FormatOpen {
			return release.Refuse(release.ReasonNotFound, "the grant for version %s of key %s is %s already", row.Version, row.Name, g.State)
		}
		g.State, g.Index = release.FormatRevoked, index
		describe(rec, row)
		return putGrant(tx, g)
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// FormatGrants lists up to limit of those of a vault's keys, after the end of the page
// before, "" for the first; next is the end of this one, "" on the last. What was spent,
// revoked or has ended is listed too.
func (s *Service) FormatGrants(ctx context.Context, vault, after string, limit int) (page []*release.FormatGrant, next string, err error) {
	if err := s.known(ctx, vault); err != nil {
		return nil, "", err
	}
	if s.Objects == nil {
		return nil, "", nil
	}
	of := vault + "/" // as in [release.FormatGrantName]
	list, err := s.Objects.List(ctx, release.ObjectFormatGrant, of+after, limit)
	if err != nil {
		return nil, "", err
	}
	for _, o := range list {
		end, ours := strings.CutPrefix(o.Name, of)
		if !ours {
			return page, "", nil
		}
		g, err := release.ReadFormatGrant(o)
		if err != nil {
			return nil, "", err
		}
		page, next = append(page, g), end
	}
	if len(list) < limit {
		next = ""
	}
	return page, next, nil
}

// granting runs edit in the transaction of the record of op, on the genuine row of a live
// key version.
func (s *Service) granting(ctx context.Context, op, vault, name, version string, edit func(tx Tx, rec *release.Record, index int64, row *Row) error) error {
	if err := named(vault, name); err != nil {
		return err
	}
	if version != "" && !ValidVersion(version) {
		return release.Refuse(release.ReasonBadRequest, "version is not 32 lower-case hex digits")
	}
	for range conflictRetries {
		if err := s.warm(ctx, vault, Keys, name, version); errors.Is(err, ErrNotFound) {
			return missing(release.ReasonNotFound, Keys, release.KeyRef{Vault: vault, Name: name, Version: version})
		} else if err != nil {
			return err
		}
		rec, right := s.Record(ctx, op), s.right(ctx)
		_, err := s.Store.Change(ctx, rec, func(tx Tx, index int64) error {
			if err := entitled(tx, right); err != nil {
				return err
			}
			row, err := tx.Row(vault, Keys, name, version)
			if err != nil {
				return err
			}
			if row.Deleted != 0 {
				return ErrNotFound
			}
			if err := s.believed(row); err != nil {
				return err
			}
			return edit(tx, rec, index, row)
		})
		switch {
		case errors.Is(err, ErrNotFound):
			return missing(release.ReasonNotFound, Keys, release.KeyRef{Vault: vault, Name: name, Version: version})
		case !errors.Is(err, ErrConflict):
			return err
		}
	}
	return contended(Keys, name)
}

// believed refuses, inside a transaction, a row that was edited. ErrConflict when it was
// made since warm.
func (s *Service) believed(row *Row) error {
	dek := s.deks.get(dekName(row.Vault, row.DEKEpoch))
	if dek == nil {
		return ErrConflict
	}
	defer clear(dek)
	return genuine(dek, s.Deployment, row)
}

// onlyLUKS gives the row with the tag, and writes it when that is news.
func (s *Service) onlyLUKS(tx Tx, old *Row) (*Row, error) {
	if _, ok := old.Tags[release.TagLUKSOnly]; ok {
		return old, nil
	}
	tags := map[string]string{release.TagLUKSOnly: "yes"}
	maps.Copy(tags, old.Tags)
	if err := soundTags(tags); err != nil {
		return nil, err
	}
	row, err := s.revise(old, UpdateKey{Settings: Settings{Tags: tags}})
	if err != nil {
		return nil, err
	}
	if err := s.reseal(old, row); err != nil {
		return nil, err
	}
	return row, tx.Update(row, old.Generation)
}

// RevokeOpen ends the grant of that name (as in [release.FormatGrantName]) and says whether
// there was an open one.
func RevokeOpen(tx Tx, name string) (bool, error) {
	o, err := tx.Object(release.ObjectFormatGrant, name)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	g, err := release.ReadFormatGrant(o)
	if err != nil || g.State != release.FormatOpen {
		return false, err
	}
	g.State = release.FormatRevoked
	return true, putGrant(tx, g)
}

// withdraw ends the open grants of rows, which go or come back: whoever allowed a disk to
// be made meant the key that was there then. The record says how many.
func withdraw(tx Tx, rec *release.Record, rows []*Row) error {
	n := 0
	for _, r := range rows {
		if r.Collection != Keys || r.Kty != KtyOct {
			continue // nobody grants anything on it
		}
		open, err := RevokeOpen(tx, release.FormatGrantName(r.Vault, r.ObjectID, r.Version))
		if err != nil {
			return err
		}
		if open {
			n++
		}
	}
	if n > 0 {
		rec.Detail[release.DetailGrantsRevoked] = strconv.Itoa(n)
	}
	return nil
}

func putGrant(tx Tx, g *release.FormatGrant) error {
	value, err := json.Marshal(g)
	if err != nil {
		return release.Refuse(release.ReasonInternal, "%w", err)
	}
	return tx.PutObject(release.ObjectFormatGrant, release.FormatGrantName(g.Vault, g.ObjectID, g.Version), value)
}
