package keyvault_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

const (
	dv  = keyvault.DefaultVault
	day = 24 * time.Hour
)

// twice makes a key with two versions and gives the first.
func (l *lab) twice(t testing.TB, name string, in keyvault.CreateKey) *keyvault.Row {
	t.Helper()
	first := l.create(t, name, in)
	l.create(t, name, in)
	return first
}

func (l *lab) delete(t testing.TB, name string) *keyvault.Row {
	t.Helper()
	row, err := l.Delete(t.Context(), dv, keyvault.Keys, name)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func (l *lab) last() *release.Record { return l.store.Leaves[len(l.store.Leaves)-1] }

var signing = keyvault.Operation{Op: keyvault.OpSign, Algorithm: "ES256", Value: make([]byte, 32)}

// TestDeleted: a deleted object is nowhere but among the deleted ones.
func TestDeleted(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	first := l.twice(t, "Disk", keyvault.CreateKey{Kty: keyvault.KtyEC})
	row := l.delete(t, "disk")
	if row.Seq != 2 || row.Generation != 2 || row.Name != "Disk" || row.Deleted != at.Unix() || row.Purge != at.Add(90*day).Unix() {
		t.Errorf("%+v", row)
	}
	if rec := l.last(); rec.Operation != "keys/delete" || rec.Object != "Disk" || rec.ObjectID != row.ObjectID || rec.Version != row.Version ||
		rec.Generation != 2 || rec.Detail["versions"] != "2" || rec.Detail["purge"] != fmt.Sprint(row.Purge) {
		t.Errorf("record %+v", rec)
	}
	records := len(l.store.Leaves)
	for name, call := range map[string]func() error{
		"get":         func() error { _, err := l.Get(ctx, dv, "disk", ""); return err },
		"get version": func() error { _, err := l.Get(ctx, dv, "disk", first.Version); return err },
		"update":      func() error { _, err := l.Update(ctx, dv, "disk", "", keyvault.UpdateKey{}); return err },
		"update one":  func() error { _, err := l.Update(ctx, dv, "disk", first.Version, keyvault.UpdateKey{}); return err },
		"sign":        func() error { _, err := l.Operate(ctx, dv, "disk", "", signing); return err },
		"delete":      func() error { _, err := l.Delete(ctx, dv, keyvault.Keys, "disk"); return err },
		"backup":      func() error { _, err := l.Backup(ctx, dv, keyvault.Keys, "disk"); return err },
		"secret":      func() error { _, err := l.Deleted(ctx, dv, keyvault.Secrets, "disk"); return err },
	} {
		want(t, name, call(), release.ReasonNotFound)
	}
	_, err := l.Find(ctx, release.KeyRef{Vault: dv, Name: "Disk"})
	want(t, "find", err, release.ReasonKeyUnavailable)
	_, err = l.Create(ctx, dv, "disk", keyvault.CreateKey{Kty: keyvault.KtyEC})
	want(t, "create", err, release.ReasonDeleted)
	if len(l.store.Leaves) != records {
		t.Errorf("%d records of what did not happen", len(l.store.Leaves)-records)
	}
	live, err := l.List(ctx, dv, keyvault.Keys, "", 10)
	want(t, "list", err, "")
	versions, err := l.Versions(ctx, dv, keyvault.Keys, "disk", 0, 10)
	want(t, "versions", err, "")
	if len(live)+len(versions) != 0 {
		t.Errorf("%d keys and %d versions are listed", len(live), len(versions))
	}
	got, err := l.Deleted(ctx, dv, keyvault.Keys, "disk")
	want(t, "deleted", err, "")
	list, err := l.ListDeleted(ctx, dv, keyvault.Keys, "", 10)
	want(t, "list of deleted", err, "")
	if got.Version != row.Version || len(list) != 1 || list[0].Version != row.Version {
		t.Errorf("%+v and %d listed", got, len(list))
	}
}

// TestRecover: everything is as before, under new generations.
func TestRecover(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	first := l.twice(t, "disk", keyvault.CreateKey{Kty: keyvault.KtyEC})
	_, err := l.Recover(ctx, dv, keyvault.Keys, "disk")
	want(t, "recover of a live key", err, release.ReasonNotFound)
	l.delete(t, "disk")
	row, err := l.Recover(ctx, dv, keyvault.Keys, "disk")
	want(t, "recover", err, "")
	if row.Deleted != 0 || row.Purge != 0 || row.Generation != 3 || l.last().Operation != "keys/recover" || l.last().Generation != 3 {
		t.Errorf("%+v, record %+v", row, l.last())
	}
	_, err = l.Deleted(ctx, dv, keyvault.Keys, "disk")
	want(t, "deleted", err, release.ReasonNotFound)
	for _, version := range []string{"", first.Version} {
		if out, err := l.Operate(ctx, dv, "disk", version, signing); err != nil || len(out.Value) == 0 {
			t.Errorf("sign with %q: %v", version, err)
		}
	}
	if n, err := l.Service.Verify(ctx, dv); err != nil || n.Versions != 2 {
		t.Errorf("%+v, %v", n, err)
	}
}

// TestPurge: nothing is left but what keeps a backup from being weaker.
func TestPurge(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.twice(t, "disk", keyvault.CreateKey{Kty: keyvault.KtyEC})
	want(t, "purge of a live key", l.Purge(ctx, dv, keyvault.Keys, "disk"), release.ReasonNotFound)
	row := l.delete(t, "disk")
	want(t, "purge", l.Purge(ctx, dv, keyvault.Keys, "DISK"), "")
	if len(l.store.Rows) != 0 || l.store.Docs["tombstone/"+row.ObjectID] == nil {
		t.Errorf("%d rows left, tombstones %v", len(l.store.Rows), l.store.Docs)
	}
	if rec := l.last(); rec.Operation != "keys/purge" || rec.ObjectID != row.ObjectID || rec.Detail["versions"] != "2" {
		t.Errorf("record %+v", rec)
	}
	want(t, "purge again", l.Purge(ctx, dv, keyvault.Keys, "disk"), release.ReasonNotFound)
	_, err := l.Recover(ctx, dv, keyvault.Keys, "disk")
	want(t, "recover", err, release.ReasonNotFound)
	again := l.create(t, "disk", keyvault.CreateKey{Kty: keyvault.KtyEC})
	if again.ObjectID == row.ObjectID || again.Seq != 1 {
		t.Errorf("the name's new key is the old one: %+v", again)
	}
}

func TestPurgeProtection(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	if _, err := l.UpdateVault(ctx, dv, keyvault.VaultSettings{PurgeProtection: ptr(true), RetentionDays: ptr(7)}); err != nil {
		t.Fatal(err)
	}
	l.create(t, "disk", keyvault.CreateKey{Kty: keyvault.KtyEC})
	row := l.delete(t, "disk")
	if row.Purge != at.Add(7*day).Unix() {
		t.Errorf("purge at %d", row.Purge)
	}
	want(t, "purge", l.Purge(ctx, dv, keyvault.Keys, "disk"), release.ReasonPurgeProtected)
	l.now = at.Add(7*day - time.Second)
	if n, err := l.PurgeDue(ctx); n != 0 || err != nil {
		t.Errorf("%d purged too early, %v", n, err)
	}
	l.now = at.Add(7 * day)
	if n, err := l.PurgeDue(ctx); n != 1 || err != nil {
		t.Errorf("%d purged, %v", n, err)
	}
}

// TestPurgeDue: what is due goes, whatever stands beside it.
func TestPurgeDue(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	const n = 230 // more than two pages
	for i := range n {
		l.create(t, fmt.Sprintf("k%03d", i), keyvault.CreateKey{Kty: keyvault.KtyOct})
		l.delete(t, fmt.Sprintf("k%03d", i))
	}
	if _, err := l.SetSecret(ctx, dv, "k000", []byte("v"), keyvault.SecretSettings{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Delete(ctx, dv, keyvault.Secrets, "k000"); err != nil {
		t.Fatal(err)
	}
	l.create(t, "live", keyvault.CreateKey{Kty: keyvault.KtyOct})
	l.now = at.Add(time.Hour)
	l.create(t, "later", keyvault.CreateKey{Kty: keyvault.KtyOct})
	l.delete(t, "later")
	edited := row(t, l, "k100")
	edited.Tags = map[string]string{"edited": "by hand"}

	l.now = at.Add(90 * day)
	done, err := l.PurgeDue(ctx)
	if done != n || release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("%d purged, %v", done, err)
	}
	if len(l.store.Rows) != 3 {
		t.Errorf("%d rows left", len(l.store.Rows))
	}
	if rec := l.last(); rec.Operation != "secrets/purge" {
		t.Errorf("record %+v", rec)
	}
}

// row is the stored row of a key with one version, to be edited by hand.
func row(t testing.TB, l *lab, name string) *keyvault.Row {
	t.Helper()
	for _, r := range l.store.Rows {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no key %s", name)
	return nil
}

// TestDistrustedClock: no date is set and nothing is purged by a clock that is not believed.
func TestDistrustedClock(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.create(t, "disk", keyvault.CreateKey{Kty: keyvault.KtyEC})
	l.create(t, "tape", keyvault.CreateKey{Kty: keyvault.KtyEC})
	l.delete(t, "disk")
	l.now = at.Add(365 * day)
	l.Clock = func() error { return release.Refuse(release.ReasonClockUntrusted, "a year ahead") }
	n, err := l.PurgeDue(ctx)
	want(t, "scheduled purge", err, release.ReasonClockUntrusted)
	_, err = l.Delete(ctx, dv, keyvault.Keys, "tape")
	want(t, "delete", err, release.ReasonClockUntrusted)
	if n != 0 || len(l.store.Rows) != 2 {
		t.Errorf("%d purged, %d rows", n, len(l.store.Rows))
	}
	_, err = l.Recover(ctx, dv, keyvault.Keys, "disk")
	want(t, "recover", err, "")
}

// TestDeleteIsWhole: a failure at any point leaves the object as it was.
func TestDeleteIsWhole(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.twice(t, "disk", keyvault.CreateKey{Kty: keyvault.KtyEC})
	l.store.Fault = func(*release.Record) error { return errors.New("the disk is full") }
	if _, err := l.Delete(ctx, dv, keyvault.Keys, "disk"); err == nil {
		t.Error("deleted without a record")
	}
	l.store.Fault = nil
	if _, err := l.Operate(ctx, dv, "disk", "", signing); err != nil {
		t.Error(err)
	}
	l.delete(t, "disk")
	l.store.Fault = func(*release.Record) error { return errors.New("the disk is full") }
	if err := l.Purge(ctx, dv, keyvault.Keys, "disk"); err == nil || len(l.store.Rows) != 2 {
		t.Error("purged without a record")
	}
}

// TestDeleteEdited: a version that was edited is not made good by deleting its key.
func TestDeleteEdited(t *testing.T) {
	l := newLab(t)
	first := l.twice(t, "disk", keyvault.CreateKey{Kty: keyvault.KtyEC})
	for _, r := range l.store.Rows {
		if r.Version == first.Version {
			r.AttestedOnly = true
		}
	}
	_, err := l.Delete(t.Context(), dv, keyvault.Keys, "disk")
	want(t, "delete", err, release.ReasonIntegrity)
}

// TestRightIsJudgedAgain: who lost the right between the door and the append changes nothing.
func TestRightIsJudgedAgain(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.create(t, "disk", keyvault.CreateKey{Kty: keyvault.KtyEC})
	blob, err := l.Backup(ctx, dv, keyvault.Keys, "disk")
	want(t, "backup", err, "")
	l.store.Docs["roles/p1"] = &release.Object{Kind: release.ObjectRoles, Name: "p1", Generation: 2}
	l.right = []release.ObjectState{{Kind: release.ObjectRoles, Name: "p1", Generation: 1}}
	records := len(l.store.Leaves)
	_, err = l.Backup(ctx, dv, keyvault.Keys, "disk")
	want(t, "backup", err, release.ReasonStateChanged)
	_, err = l.Delete(ctx, dv, keyvault.Keys, "disk")
	want(t, "delete", err, release.ReasonStateChanged)
	_, err = l.Restore(ctx, dv, keyvault.Keys, blob)
	want(t, "restore", err, release.ReasonStateChanged)
	if len(l.store.Leaves) != records {
		t.Error("something was recorded")
	}
	l.right[0].Generation = 2
	l.delete(t, "disk")
}

// TestDeleteRacesRelease: whatever read a key before it was deleted gets nothing after.
func TestDeleteRacesRelease(t *testing.T) {
	l := newLab(t)
	l.create(t, "disk", attested(keyvault.KtyOct))
	kid := l.KID(release.KeyRef{Vault: dv, Name: "disk"})
	if _, err := l.release(t, kid, nil); err != nil {
		t.Fatal(err)
	}
	_, err := l.release(t, kid, func(step string) {
		if step == "evaluated" {
			l.delete(t, "disk")
		}
	})
	want(t, "release", err, release.ReasonStateChanged)
	l.create(t, "signer", keyvault.CreateKey{Kty: keyvault.KtyEC})
	l.before = func() { l.delete(t, "signer") }
	_, err = l.Operate(t.Context(), dv, "signer", "", signing)
	want(t, "sign", err, release.ReasonNotFound) // judged anew after state_changed
	l.create(t, "late", keyvault.CreateKey{Kty: keyvault.KtyEC})
	l.after = func() { l.delete(t, "late") }
	_, err = l.Operate(t.Context(), dv, "late", "", signing)
	if err == nil {
		t.Error("opened after the delete")
	}
}

// TestRecoverRacesPurge is MR-11: one outcome, and both answers fit it.
func TestRecoverRacesPurge(t *testing.T) {
	l := newLab(t)
	for i := range 50 {
		name := fmt.Sprintf("k%d", i)
		l.twice(t, name, keyvault.CreateKey{Kty: keyvault.KtyOct})
		l.delete(t, name)
		var wg sync.WaitGroup
		var recovered, purged, removed error
		wg.Go(func() { _, recovered = l.Recover(t.Context(), dv, keyvault.Keys, name) })
		wg.Go(func() { purged = l.Purge(t.Context(), dv, keyvault.Keys, name) })
		wg.Go(func() { _, removed = l.Delete(t.Context(), dv, keyvault.Keys, name) })
		wg.Wait()
		_, live := l.Get(t.Context(), dv, name, "")
		_, deleted := l.Deleted(t.Context(), dv, keyvault.Keys, name)
		for what, err := range map[string]error{"recover": recovered, "purge": purged, "delete": removed} {
			if err != nil && release.ReasonOf(err) != release.ReasonNotFound {
				t.Errorf("%s: %v", what, err)
			}
		}
		if purged == nil == (live == nil || deleted == nil) {
			t.Errorf("purge %v, live %v, deleted %v", purged, live, deleted)
		}
		if purged != nil && (recovered != nil || (removed == nil) != (deleted == nil)) {
			t.Errorf("recover %v, delete %v; live %v, deleted %v", recovered, removed, live, deleted)
		}
	}
}

// TestVersionLimit: what one transaction has to change is bounded.
func TestVersionLimit(t *testing.T) {
	l := newLab(t)
	for range 1000 {
		l.create(t, "k", keyvault.CreateKey{Kty: keyvault.KtyOct})
	}
	_, err := l.Create(t.Context(), dv, "k", keyvault.CreateKey{Kty: keyvault.KtyOct})
	want(t, "version 1001", err, release.ReasonConflict)
	_, err = l.Backup(t.Context(), dv, keyvault.Keys, "k")
	want(t, "backup of 1000", err, release.ReasonConflict)
	l.delete(t, "k")
	want(t, "purge", l.Purge(t.Context(), dv, keyvault.Keys, "k"), "")
}

// staleDue lists what is due, and lets something else happen before it is told.
type staleDue struct {
	keyvault.Store
	then func()
}

func (s *staleDue) Due(ctx context.Context, now int64, after *keyvault.Row, limit int) ([]*keyvault.Row, error) {
	rows, err := s.Store.Due(ctx, now, after, limit)
	once(&s.then)
	return rows, err
}

// TestPurgeDueRaces: what was recovered, or deleted anew, after the list was read stays.
func TestPurgeDueRaces(t *testing.T) {
	l := newLab(t)
	for _, name := range []string{"anew", "back", "due"} {
		l.create(t, name, keyvault.CreateKey{Kty: keyvault.KtyOct})
		l.delete(t, name)
	}
	l.now = at.Add(90 * day)
	s := l.service(t, &staleDue{l.store, func() {
		for _, name := range []string{"anew", "back"} {
			if _, err := l.Recover(t.Context(), dv, keyvault.Keys, name); err != nil {
				t.Error(err)
			}
		}
		l.delete(t, "anew")
	}})
	if n, err := s.PurgeDue(t.Context()); n != 1 || err != nil {
		t.Errorf("%d purged, %v", n, err)
	}
	if len(l.store.Rows) != 2 {
		t.Errorf("%d rows left", len(l.store.Rows))
	}
}
