package keyvault_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// TestRotationRaces: many at once make the one version that is due; one that came
// between makes it not due; a deletion wins or comes after, whole either way.
func TestRotationRaces(t *testing.T) {
	l := newLab(t)
	p := keyvault.RotationPolicy{Actions: []keyvault.LifetimeAction{action(t, keyvault.ActionRotate, "P1D", ""), action(t, keyvault.ActionNotify, "P1D", "")}}
	l.create(t, "k", keyvault.CreateKey{Kty: "oct"})
	l.setPolicy(t, "k", p)
	l.days(2)
	var all sync.WaitGroup
	for range 8 {
		s := l.service(t, l.store)
		all.Go(func() {
			if err := s.RotateDue(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n, told := l.count("keys/rotate"), l.count("keys/nearexpiry"); n != 1 || told != 1 {
		t.Errorf("%d rotations and %d notices at once", n, told)
	}
	l.days(2)
	l.notice = func() { l.due(t) }
	l.due(t)
	if n, told := l.count("keys/rotate"), l.count("keys/nearexpiry"); n != 2 || told != 2 || len(l.told) != 2 {
		t.Errorf("%d rotations and %d notices after one between", n, told)
	}

	l.days(2)
	between := l.service(t, &intruder{Store: l.store, before: "keys/rotate", do: func() {
		if _, err := l.Rotate(t.Context(), vault, "k"); err != nil {
			t.Error(err)
		}
	}})
	if err := between.RotateDue(t.Context()); err != nil {
		t.Error(err)
	}
	if row := l.latest(t, "k"); row.Seq != 4 {
		t.Errorf("rotated by hand and by the schedule: version %d", row.Seq)
	}

	l.days(2)
	between = l.service(t, &intruder{Store: l.store, before: "keys/rotate", do: func() {
		if _, err := l.Delete(t.Context(), vault, keyvault.Keys, "k"); err != nil {
			t.Error(err)
		}
	}})
	if err := between.RotateDue(t.Context()); err != nil && release.ReasonOf(err) != release.ReasonDeleted {
		t.Error(err)
	}
	d, err := l.Deleted(t.Context(), vault, keyvault.Keys, "k")
	if err != nil || d.Seq != 4 {
		t.Errorf("deleted at version %+v, %v", d, err)
	}

	// Another type came between: the next attempt makes one of that type.
	l.create(t, "turned", keyvault.CreateKey{Kty: "oct"})
	between = l.service(t, &intruder{Store: l.store, before: "keys/rotate", do: func() { l.create(t, "turned", keyvault.CreateKey{Kty: "EC"}) }})
	row, err := between.Rotate(t.Context(), vault, "turned")
	if err != nil || row.Kty != "EC" || row.Seq != 3 || len(row.Public) == 0 {
		t.Errorf("%+v, %v", row, err)
	}

	// Another key came between, of the same name: the policy is not its own.
	soon := keyvault.CreateKey{Kty: "oct", Settings: keyvault.Settings{Expires: ptr(l.now.AddDate(0, 0, 1).Unix())}}
	l.create(t, "other", soon)
	l.setPolicy(t, "other", keyvault.RotationPolicy{Actions: []keyvault.LifetimeAction{action(t, keyvault.ActionRotate, "", "P30D")}})
	between = l.service(t, &intruder{Store: l.store, before: "keys/rotate", do: func() {
		_, err := l.Delete(t.Context(), vault, keyvault.Keys, "other")
		if err := errors.Join(err, l.Purge(t.Context(), vault, keyvault.Keys, "other")); err != nil {
			t.Error(err)
		}
		l.create(t, "other", soon)
	}})
	if err := between.RotateDue(t.Context()); err != nil {
		t.Error(err)
	}
	if row := l.latest(t, "other"); row.Seq != 1 {
		t.Errorf("a key was rotated by the policy of the one before it: version %d", row.Seq)
	}
}

// TestOneFailureOnly: a key that cannot be rotated does not hold up the others.
func TestOneFailureOnly(t *testing.T) {
	l := newLab(t)
	p := keyvault.RotationPolicy{Actions: []keyvault.LifetimeAction{action(t, keyvault.ActionRotate, "P1D", "")}}
	for _, name := range []string{"a", "b", "c"} {
		l.create(t, name, keyvault.CreateKey{Kty: "oct"})
		l.setPolicy(t, name, p)
	}
	l.days(2)
	l.store.Fault = func(rec *release.Record) error {
		if rec.Operation == "keys/rotate" && rec.Object == "b" {
			return errors.New("disk full")
		}
		return nil
	}
	if err := l.RotateDue(t.Context()); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Error(err)
	}
	l.store.Fault = nil
	if n := l.count("keys/rotate"); n != 2 {
		t.Errorf("%d rotations", n)
	}
	l.due(t)
	if n := l.count("keys/rotate"); n != 3 {
		t.Errorf("%d rotations after the failure", n)
	}
}
