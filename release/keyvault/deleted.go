package keyvault

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/openskr/openskr/release"
)

// maxVersions bounds the versions of one object, since deleting, recovering and
// purging it are one transaction over all of them.
const maxVersions = 1000

const secondsPerDay = 24 * 60 * 60

// Deleted gives the latest version of an object that was deleted and not purged.
// ReasonNotFound, for a live one too.
func (s *Service) Deleted(ctx context.Context, vault string, c Collection, name string) (*Row, error) {
	if err := s.named(ctx, vault, name); err != nil {
		return nil, err
	}
	ref := release.KeyRef{Vault: vault, Name: name}
	row, err := s.read(ctx, c, ref)
	if errors.Is(err, ErrNotFound) {
		return nil, missing(release.ReasonNotFound, c, ref)
	}
	if err != nil {
		return nil, err
	}
	if row.Deleted == 0 {
		return nil, missing(release.ReasonNotFound, c, ref)
	}
	return row, nil
}

// ListDeleted gives the latest version of each deleted object whose name sorts after `after`.
func (s *Service) ListDeleted(ctx context.Context, vault string, c Collection, after string, limit int) ([]*Row, error) {
	if err := s.known(ctx, vault); err != nil {
		return nil, err
	}
	rows, err := s.Store.Latest(ctx, vault, c, true, after, limit)
	if err != nil {
		return nil, err
	}
	return rows, s.genuineAll(ctx, rows)
}

// Delete takes an object with all its versions out of use. It can be recovered until
// the vault's retention is over. The latest version is given as it is now.
func (s *Service) Delete(ctx context.Context, vault string, c Collection, name string) (*Row, error) {
	// A wrong clock would set a date that a right one is past at once.
	if err := s.clock(); err != nil {
		return nil, err
	}
	return s.every(ctx, objectChange{op: "delete", vault: vault, collection: c, name: name, edit: func(tx Tx, rec *release.Record, rows []*Row) error {
		v, err := vaultIn(tx, vault)
		if err != nil {
			return err
		}
		now := s.Now().Unix()
		purge := now + int64(v.RetentionDays)*secondsPerDay
		rec.Detail["purge"] = strconv.FormatInt(purge, 10)
		return errors.Join(withdraw(tx, rec, rows), s.mark(tx, rows, now, purge))
	}})
}

// Recover undoes a Delete.
func (s *Service) Recover(ctx context.Context, vault string, c Collection, name string) (*Row, error) {
	return s.every(ctx, objectChange{op: "recover", vault: vault, collection: c, name: name, deleted: true, edit: func(tx Tx, rec *release.Record, rows []*Row) error {
		return errors.Join(withdraw(tx, rec, rows), s.mark(tx, rows, 0, 0))
	}})
}

// mark gives every row a generation with the new dates, so that whatever read the old
// one loses at its append. rows are the new ones after it.
func (s *Service) mark(tx Tx, rows []*Row, deleted, purge int64) error {
	for i, old := range rows {
		next := *old
		next.Generation, next.Deleted, next.Purge = old.Generation+1, deleted, purge
		if err := s.reseal(old, &next); err != nil {
			return err
		}
		if err := tx.Update(&next, old.Generation); err != nil {
			return err
		}
		rows[i] = &next
	}
	return nil
}

// objectChange is a change of all versions of an object, in one transaction.
type objectChange struct {
	op         string // "delete": the word after the collection in records
	vault      string
	collection Collection
	name       string
	deleted    bool // what it expects: a deleted object, or a live one
	// edit gets the rows, oldest first, each genuine, and the record, described by the
	// latest. It may put new rows in their places.
	edit func(tx Tx, rec *release.Record, rows []*Row) error
}

// every does c and gives the latest row after it. ReasonNotFound when there is no such
// object, or not in that state.
func (s *Service) every(ctx context.Context, c objectChange) (latest *Row, err error) {
	edit := c.edit
	c.edit = func(tx Tx, rec *release.Record, rows []*Row) error {
		if err := edit(tx, rec, rows); err != nil {
			return err
		}
		latest = rows[len(rows)-1]
		rec.Generation = latest.Generation
		return nil
	}
	if _, err = s.everyRecorded(ctx, c); err != nil {
		return nil, err
	}
	return latest, nil
}

// everyRecorded is every for who needs the record.
func (s *Service) everyRecorded(ctx context.Context, c objectChange) (*release.Committed, error) {
	if err := s.named(ctx, c.vault, c.name); err != nil {
		return nil, err
	}
	for range conflictRetries {
		done, cold, err := s.tryEvery(ctx, c)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil, missing(release.ReasonNotFound, c.collection, release.KeyRef{Vault: c.vault, Name: c.name})
		case !errors.Is(err, ErrConflict):
			return done, err
		case cold != 0: // the vault key of an epoch was not open; a transaction must not wait for it
			dek, err := s.dek(ctx, c.vault, cold)
			clear(dek)
			if err != nil {
				return nil, err
			}
		}
	}
	return nil, contended(c.collection, c.name)
}

func (s *Service) tryEvery(ctx context.Context, c objectChange) (_ *release.Committed, cold int64, err error) {
	rec, right := s.Record(ctx, string(c.collection)+"/"+c.op), s.right(ctx)
	var closed int64
	done, err := s.Store.Change(ctx, rec, func(tx Tx, _ int64) error {
		if err := entitled(tx, right); err != nil {
			return err
		}
		rows, err := tx.Versions(c.vault, c.collection, c.name)
		if err != nil {
			return err
		}
		if len(rows) == 0 || (rows[0].Deleted != 0) != c.deleted {
			return ErrNotFound
		}
		if closed, err = s.believe(c, rows); err != nil {
			return err
		}
		describe(rec, rows[len(rows)-1])
		rec.Detail["versions"] = strconv.Itoa(len(rows))
		return c.edit(tx, rec, rows)
	})
	if errors.Is(err, ErrConflict) { // of the change itself, which is over then
		cold = closed
	}
	return done, cold, err
}

// believe checks that rows are genuine, and of one object in one state. cold is the
// epoch of a vault key that has to be opened first, with ErrConflict.
func (s *Service) believe(c objectChange, rows []*Row) (cold int64, err error) {
	for _, r := range rows {
		dek := s.deks.get(dekName(c.vault, r.DEKEpoch))
		if dek == nil {
			return r.DEKEpoch, ErrConflict
		}
		err := genuine(dek, s.Deployment, r)
		clear(dek)
		if err != nil {
			return 0, err
		}
		if r.Vault != c.vault || r.Collection != c.collection || !strings.EqualFold(r.Name, c.name) ||
			r.ObjectID != rows[0].ObjectID || r.Deleted != rows[0].Deleted || r.Purge != rows[0].Purge {
			return 0, broken(r, errIntegrity)
		}
	}
	return 0, nil
}

// right gives what the right of ctx's caller rests on.
func (s *Service) right(ctx context.Context) []release.ObjectState {
	if s.Right == nil {
		return nil
	}
	return s.Right(ctx)
}

// entitled refuses when what gave the caller its right changed since it was read.
func entitled(tx Tx, right []release.ObjectState) error {
	for _, was := range right {
		o, err := tx.Object(was.Kind, was.Name)
		generation := int64(0)
		switch {
		case err == nil:
			generation = o.Generation
		case !errors.Is(err, ErrNotFound):
			return err
		}
		if generation != was.Generation {
			return release.Refuse(release.ReasonStateChanged, "the caller's right changed since it was read")
		}
	}
	return nil
}

// clock refuses what a wrong time of day would do harm to.
func (s *Service) clock() error {
	if s.Clock == nil {
		return nil
	}
	return s.Clock()
}
