package storetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// within runs fn in a change of its own.
func (s *suite) within(fn func(tx keyvault.Tx) error) error {
	_, err := s.Keys.Change(s.ctx, change("keys/delete", ""), func(tx keyvault.Tx, _ int64) error { return fn(tx) })
	return err
}

// remove deletes every version at the second deleted, to be purged at the second purge.
func (s *suite) remove(deleted, purge int64, rows ...*keyvault.Row) {
	s.Helper()
	for _, r := range rows {
		_, err := s.update(r, func(r *keyvault.Row) { r.Deleted, r.Purge = deleted, purge })
		s.must(err)
	}
}

func (s *suite) deletedObjects() {
	a, b, c := s.insert(row("a", 1)), s.insert(row("b", 1)), s.insert(row("c", 1))
	secret := row("b", 1)
	secret.Collection, secret.ObjectID = keyvault.Secrets, "id-secret"
	s.insert(secret)
	a2 := s.insert(row("a", 2))
	s.remove(100, 200, a, a2)
	s.remove(100, 300, secret)
	s.remove(110, 210, c)

	names := func(c keyvault.Collection, deleted bool, after string) string {
		rows, err := s.Keys.Latest(s.ctx, "v", c, deleted, after, 10)
		s.must(err)
		var out []string
		for _, r := range rows {
			out = append(out, fmt.Sprint(r.Name, ".", r.Seq, " ", r.Deleted, " ", r.Purge))
		}
		return fmt.Sprint(out)
	}
	for _, l := range []struct{ got, want string }{
		{names(keyvault.Keys, true, ""), "[a.2 100 200 c.1 110 210]"},
		{names(keyvault.Keys, true, "a"), "[c.1 110 210]"},
		{names(keyvault.Keys, false, ""), "[b.1 0 0]"},
		{names(keyvault.Secrets, true, ""), "[b.1 100 300]"},
	} {
		if l.got != l.want {
			s.Errorf("got %s, want %s", l.got, l.want)
		}
	}
	due := func(now int64, after *keyvault.Row, limit int) string {
		rows, err := s.Keys.Due(s.ctx, now, after, limit)
		s.must(err)
		var out []string
		for _, r := range rows {
			out = append(out, fmt.Sprint(r.Collection, "/", r.Name, ".", r.Seq))
		}
		return fmt.Sprint(out)
	}
	for _, l := range []struct{ got, want string }{
		{due(199, nil, 10), "[]"},
		{due(200, nil, 10), "[keys/a.2]"},
		{due(400, nil, 10), "[keys/a.2 keys/c.1 secrets/b.1]"},
		{due(400, nil, 2), "[keys/a.2 keys/c.1]"},
		{due(400, c, 10), "[secrets/b.1]"},
		{due(400, secret, 10), "[]"},
	} {
		if l.got != l.want {
			s.Errorf("due: got %s, want %s", l.got, l.want)
		}
	}
	_ = b
}

// versionsInside: a change sees every version as it is, its own writes too.
func (s *suite) versionsInside() {
	first, second := s.insert(row("k", 1)), s.insert(row("k", 2))
	s.must(s.within(func(tx keyvault.Tx) error {
		got, err := tx.Versions("v", keyvault.Keys, "K") // names compare without case
		if err != nil || !reflect.DeepEqual(got, []*keyvault.Row{first, second}) {
			s.Errorf("%+v, %v", got, err)
		}
		if none, err := tx.Versions("v", keyvault.Secrets, "k"); err != nil || len(none) != 0 {
			s.Errorf("%d rows, %v", len(none), err)
		}
		next := *second
		next.Generation, next.Deleted = 2, 5
		if err := tx.Update(&next, 1); err != nil {
			return err
		}
		got, err = tx.Versions("v", keyvault.Keys, "k")
		if err != nil || len(got) != 2 || got[1].Deleted != 5 {
			s.Errorf("own write not seen: %v", err)
		}
		return nil
	}))
}

// removed: what is removed is gone, and its generation is not.
func (s *suite) removed() {
	r := s.insert(row("k", 1))
	kept := s.insert(row("k", 2))
	other := *r
	other.Generation = 7
	s.is(s.within(func(tx keyvault.Tx) error { return tx.Remove(&other) }), keyvault.ErrConflict)
	s.is(s.within(func(tx keyvault.Tx) error { return errors.Join(tx.Remove(r), errStop) }), errStop)
	if _, err := s.Keys.Row(s.ctx, "v", keyvault.Keys, "k", r.Version); err != nil {
		s.Errorf("a failed change removed the row: %v", err)
	}
	s.must(s.within(func(tx keyvault.Tx) error { return tx.Remove(r) }))
	_, err := s.Keys.Row(s.ctx, "v", keyvault.Keys, "k", r.Version)
	s.is(err, keyvault.ErrNotFound)
	if got, err := s.Keys.Row(s.ctx, "v", keyvault.Keys, "k", ""); err != nil || got.Version != kept.Version {
		s.Errorf("the other version: %v", err)
	}
	s.must(s.within(func(tx keyvault.Tx) error {
		for id, want := range map[string]int64{r.ObjectID: 2, "never": 0} {
			if n, err := tx.Generation(id, r.Version); err != nil || n != want {
				s.Errorf("generation of %s: %d, %v, want %d", id, n, err, want)
			}
		}
		p, err := tx.Policy(r.Policy.Digest)
		if err != nil || string(p.Data) != string(r.Policy.Data) || p.ContentType != r.Policy.ContentType {
			s.Errorf("policy of the removed row: %+v, %v", p, err)
		}
		_, err = tx.Policy(sha256.Sum256([]byte("another")))
		s.is(err, keyvault.ErrNotFound)
		return nil
	}))
	again := row("k", 1)
	again.Generation = 3
	s.insert(again)
	if got, err := s.Keys.Row(s.ctx, "v", keyvault.Keys, "k", r.Version); err != nil || got.Generation != 3 {
		s.Errorf("restored: %v", err)
	}
}

// documents: a change reads and writes objects in its transaction.
func (s *suite) documents() {
	put := func(value string, then error) error {
		return s.within(func(tx keyvault.Tx) error {
			if err := tx.PutObject(release.ObjectVault, "v", []byte(value)); err != nil {
				return err
			}
			if o, err := tx.Object(release.ObjectVault, "v"); err != nil || string(o.Value) != value {
				s.Errorf("own write not seen: %v", err)
			}
			return then
		})
	}
	s.is(s.within(func(tx keyvault.Tx) error { _, err := tx.Object(release.ObjectVault, "v"); return err }), keyvault.ErrNotFound)
	s.is(put("1", errStop), errStop)
	if _, err := s.Objects.Object(s.ctx, release.ObjectVault, "v"); release.ReasonOf(err) != release.ReasonNotFound {
		s.Errorf("a failed change left an object: %v", err)
	}
	s.must(put("1", nil))
	s.must(put("2", nil))
	o, err := s.Objects.Object(s.ctx, release.ObjectVault, "v")
	s.must(err)
	if string(o.Value) != "2" || o.Generation != 2 || o.Kind != release.ObjectVault || o.Name != "v" {
		s.Errorf("%+v", o)
	}
	_, err = s.Objects.ChangeObject(s.ctx, change("vaults/update", ""), release.ObjectVault, "v", func(old *release.Object) ([]byte, error) {
		if old == nil || old.Generation != 2 {
			s.Errorf("%+v", old)
		}
		return []byte("3"), nil
	})
	s.must(err)
}
