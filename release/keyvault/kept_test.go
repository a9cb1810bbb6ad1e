package keyvault_test

import (
	"context"
	"strings"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/releasetest"
)

// marked is a store whose mark the test moves, and that counts what is read.
type marked struct {
	*releasetest.Store
	mark  int64
	reads int
}

func (m *marked) Mark(string, keyvault.Collection, string) int64 { return m.mark }

func (m *marked) Row(ctx context.Context, vault string, c keyvault.Collection, name, version string) (*keyvault.Row, error) {
	m.reads++
	return m.Store.Row(ctx, vault, c, name, version)
}

func (m *marked) Latest(ctx context.Context, vault string, c keyvault.Collection, deleted bool, after string, limit int) ([]*keyvault.Row, error) {
	m.reads++
	return m.Store.Latest(ctx, vault, c, deleted, after, limit)
}

// TestRemembered: a row is read once a mark, checked each time that it is read, and
// nobody can change what others are given.
func TestRemembered(t *testing.T) {
	l := newLab(t)
	st := &marked{Store: l.store}
	s := l.service(t, st)
	row := l.create(t, "k", attested("oct"))
	get := func() (*keyvault.Row, error) { return s.Get(t.Context(), "default", "k", row.Version) }
	first, err := get()
	if err != nil {
		t.Fatal(err)
	}
	first.Attributes.Enabled, first.Name = false, "mine"
	second, err := get()
	if err != nil || st.reads != 1 || !second.Attributes.Enabled || second.Name != "k" {
		t.Fatalf("%+v, %v after %d reads, want the row as it is after 1", second, err, st.reads)
	}
	// Somebody edits the row. As long as the store says that nobody wrote, it is the one
	// that was checked; then it is read, and refused.
	l.store.Rows["default/keys/k/"+row.Version].Attributes.Enabled = false
	if third, err := get(); err != nil || !third.Attributes.Enabled {
		t.Errorf("%+v, %v", third, err)
	}
	st.mark++
	if _, err := get(); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("an edited row: %v", err)
	}
	if _, err := get(); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("an edited row, again: %v", err)
	}
	l.store.Rows["default/keys/k/"+row.Version].Attributes.Enabled = true

	st.reads = 0
	for _, n := range []struct {
		after string
		limit int
		reads int
	}{{"", 25, 1}, {"", 25, 1}, {"", 24, 2}, {"a", 25, 3}, {"", 25, 3}} {
		if rows, err := s.List(t.Context(), "default", keyvault.Keys, n.after, n.limit); err != nil || len(rows) != 1 || st.reads != n.reads {
			t.Errorf("list after %q of %d: %d rows, %v, %d reads, want %d", n.after, n.limit, len(rows), err, st.reads, n.reads)
		}
	}
	if rows, err := s.List(t.Context(), "default", keyvault.Secrets, "", 25); err != nil || len(rows) != 0 {
		t.Errorf("another collection has %d rows, %v", len(rows), err)
	}
}

// TestRememberedIsBounded: what is large is read each time.
func TestRememberedIsBounded(t *testing.T) {
	l := newLab(t)
	st := &marked{Store: l.store}
	s := l.service(t, st)
	if _, err := s.SetSecret(t.Context(), "default", "large", []byte(strings.Repeat("x", 17<<10)), keyvault.SecretSettings{}); err != nil {
		t.Fatal(err)
	}
	st.reads = 0
	for want := 1; want < 3; want++ {
		if _, err := s.List(t.Context(), "default", keyvault.Secrets, "", 25); err != nil || st.reads != want {
			t.Errorf("%v, %d reads, want %d", err, st.reads, want)
		}
	}
}

// TestOneSpelling: on the native door a key's URL has one spelling, that of its record,
// however often it was asked for in another.
func TestOneSpelling(t *testing.T) {
	l := newLab(t)
	row := l.create(t, "Disk", attested("oct"))
	for range 2 { // the second time from memory
		for _, version := range []string{"", row.Version} {
			if k, err := l.Find(t.Context(), release.KeyRef{Vault: vault, Name: "Disk", Version: version}); err != nil || k.Ref.Version != row.Version {
				t.Errorf("%+v, %v", k, err)
			}
			_, err := l.Find(t.Context(), release.KeyRef{Vault: vault, Name: "disk", Version: version})
			want(t, "another spelling", err, release.ReasonKeyUnavailable)
		}
	}
}

// swapped is a store that gives another row than the one asked for.
type swapped struct {
	*releasetest.Store
	row *keyvault.Row
}

func (s swapped) Row(context.Context, string, keyvault.Collection, string, string) (*keyvault.Row, error) {
	return s.row, nil
}

// TestAnotherKeysRow: a genuine row is refused where another key was asked for.
func TestAnotherKeysRow(t *testing.T) {
	l := newLab(t)
	other := l.create(t, "other", attested("oct"))
	s := l.service(t, swapped{l.store, other})
	for name, ref := range map[string]release.KeyRef{
		"name": {Vault: vault, Name: "k"}, "version": {Vault: vault, Name: "other", Version: strings.Repeat("0", 32)}, "vault": {Vault: "elsewhere", Name: "other"},
	} {
		_, err := s.Find(t.Context(), ref)
		want(t, name, err, release.ReasonIntegrity)
	}
	if _, err := s.Find(t.Context(), release.KeyRef{Vault: vault, Name: "other"}); err != nil {
		t.Error(err)
	}
}
