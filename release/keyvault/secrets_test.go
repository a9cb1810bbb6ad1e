package keyvault_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// canary is a value that must be nowhere but in what a reader gets.
const canary = "correct horse battery staple"

func (l *lab) set(t testing.TB, name, value string, in keyvault.SecretSettings) *keyvault.Row {
	t.Helper()
	row, err := l.SetSecret(t.Context(), vault, name, []byte(value), in)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func (l *lab) read(t testing.TB, name, version string) string {
	t.Helper()
	_, b, err := l.GetSecret(t.Context(), vault, name, version)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// unread asks for a value that must not be given, and gives why.
func (l *lab) unread(t testing.TB, name, version string) release.Reason {
	t.Helper()
	row, b, err := l.GetSecret(t.Context(), vault, name, version)
	if err == nil || b != nil || row != nil {
		t.Errorf("%s: given out: %q, %v", name, b, err)
		return ""
	}
	return release.ReasonOf(err)
}

func TestSecretVersions(t *testing.T) {
	l := newLab(t)
	first := l.set(t, "Db", canary, keyvault.SecretSettings{ContentType: ptr("text/plain"), Tags: map[string]string{"a": "b"}, Expires: ptr(at.Unix() + 100)})
	second := l.set(t, "db", "", keyvault.SecretSettings{})
	if second.Name != "Db" || second.ObjectID != first.ObjectID || second.Seq != 2 || second.Version == first.Version ||
		second.ContentType != "" || len(second.Tags) != 0 || second.Attributes.Expires != 0 || !second.Attributes.Enabled {
		t.Errorf("%+v", second)
	}
	if got := l.read(t, "DB", ""); got != "" {
		t.Errorf("latest %q", got)
	}
	if got := l.read(t, "db", first.Version); got != canary {
		t.Errorf("first %q", got)
	}
	longest := strings.Repeat("ä", 25<<9)
	l.set(t, "long", longest, keyvault.SecretSettings{ContentType: ptr(strings.Repeat("ä", 255))})
	if l.read(t, "long", "") != longest {
		t.Error("the longest is not kept whole")
	}
	for name, c := range map[string]struct {
		value string
		in    keyvault.SecretSettings
	}{
		"one byte more": {longest + "x", keyvault.SecretSettings{}},
		"no UTF-8":      {"\xff", keyvault.SecretSettings{}},
		"content type":  {"v", keyvault.SecretSettings{ContentType: ptr(strings.Repeat("ä", 256))}},
		"tags":          {"v", keyvault.SecretSettings{Tags: map[string]string{"": "x"}}},
		"nbf":           {"v", keyvault.SecretSettings{NotBefore: ptr(int64(-1))}},
		"nbf after exp": {"v", keyvault.SecretSettings{NotBefore: ptr(int64(2)), Expires: ptr(int64(2))}},
	} {
		_, err := l.SetSecret(t.Context(), vault, "db", []byte(c.value), c.in)
		want(t, name, err, release.ReasonBadRequest)
	}
	l.ready = release.Refuse(release.ReasonRecoveryNotReady, "no drill")
	_, err := l.SetSecret(t.Context(), vault, "new", nil, keyvault.SecretSettings{})
	want(t, "before a drill", err, release.ReasonRecoveryNotReady)
}

func TestUpdateSecret(t *testing.T) {
	l := newLab(t)
	row := l.set(t, "db", canary, keyvault.SecretSettings{ContentType: ptr("a"), Tags: map[string]string{"a": "b"}})
	l.days(1)
	got, err := l.UpdateSecret(t.Context(), vault, "DB", row.Version, keyvault.SecretSettings{ContentType: ptr("b"), NotBefore: ptr(at.Unix())})
	if err != nil || got.Version != row.Version || got.Generation != 2 || got.Updated != l.now.Unix() || got.Created != at.Unix() || got.ContentType != "b" ||
		got.Tags["a"] != "b" || !got.Attributes.Enabled {
		t.Fatalf("%+v, %v", got, err)
	}
	if l.read(t, "db", "") != canary {
		t.Error("the value changed")
	}
	_, err = l.UpdateSecret(t.Context(), vault, "other", "", keyvault.SecretSettings{})
	want(t, "unknown", err, release.ReasonNotFound)
	_, err = l.UpdateSecret(t.Context(), vault, "db", "", keyvault.SecretSettings{Expires: ptr(at.Unix())})
	want(t, "times", err, release.ReasonBadRequest)
}

// TestSecretRecords: each reading is an operation on record, and no record has the
// value or a digest that it could be guessed by.
func TestSecretRecords(t *testing.T) {
	l := newLab(t)
	row := l.set(t, "db", canary, keyvault.SecretSettings{})
	l.read(t, "db", "")
	rec := l.store.Leaves[len(l.store.Leaves)-1]
	if rec.Kind != receipt.KindOperation || rec.Operation != "secrets/get" || rec.Decision != receipt.Allow || rec.Object != "db" ||
		rec.ObjectID != row.ObjectID || rec.Version != row.Version || rec.Generation != 1 {
		t.Errorf("%+v", rec)
	}
	one := make([]string, 2)
	for i, value := range []string{canary, "another"} {
		l := newLab(t)
		l.set(t, "db", value, keyvault.SecretSettings{})
		l.read(t, "db", "")
		for _, r := range l.store.Leaves {
			r.ObjectID, r.Version = "", "" // random
			b, err := r.Encode()
			if err != nil {
				t.Fatal(err)
			}
			one[i] += string(b)
		}
	}
	if one[0] != one[1] {
		t.Errorf("records tell values apart:\n%s\n%s", one[0], one[1])
	}
}

// TestSecretState: what changes between look-up, record and opening counts.
func TestSecretState(t *testing.T) {
	update := func(in keyvault.SecretSettings) func(*testing.T, *lab) {
		return func(t *testing.T, l *lab) {
			if _, err := l.UpdateSecret(t.Context(), vault, "db", "", in); err != nil {
				t.Fatal(err)
			}
		}
	}
	off := update(keyvault.SecretSettings{Enabled: ptr(false)})
	gone := func(t *testing.T, l *lab) {
		if _, err := l.Delete(t.Context(), vault, keyvault.Secrets, "db"); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		before, early, late func(*testing.T, *lab) // before the request, before its record, after it
		want                release.Reason
	}{
		"disabled":                 {before: off, want: release.ReasonSecretDisabled},
		"disabled then":            {early: off, want: release.ReasonSecretDisabled},
		"disabled after":           {late: off, want: release.ReasonSecretDisabled},
		"not yet":                  {before: update(keyvault.SecretSettings{NotBefore: ptr(at.Unix() + 1)}), want: release.ReasonSecretNotYetValid},
		"expired":                  {before: func(_ *testing.T, l *lab) { l.days(2) }, want: release.ReasonSecretExpired},
		"expired then":             {early: func(_ *testing.T, l *lab) { l.days(2) }, want: release.ReasonSecretExpired},
		"deleted":                  {before: gone, want: release.ReasonNotFound},
		"deleted then":             {early: gone, want: release.ReasonNotFound},
		"deleted after the record": {late: gone, want: release.ReasonNotFound},
		"too late": {late: func(_ *testing.T, l *lab) {
			l.now = l.now.Add(release.GrantLife + time.Second)
			l.after = func() { l.days(2) }
		}, want: release.ReasonSecretExpired},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.set(t, "db", canary, keyvault.SecretSettings{Expires: ptr(at.Unix() + 3600)})
			if c.before != nil {
				c.before(t, l)
			}
			if c.early != nil {
				l.before = func() { c.early(t, l) }
			}
			if c.late != nil {
				l.after = func() { c.late(t, l) }
			}
			if got := l.unread(t, "db", ""); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestSecretStartsOver: a new version that came between is the one that is given.
func TestSecretStartsOver(t *testing.T) {
	l := newLab(t)
	l.set(t, "db", "old", keyvault.SecretSettings{})
	l.before = func() { l.set(t, "db", canary, keyvault.SecretSettings{}) }
	if got := l.read(t, "db", ""); got != canary {
		t.Error(got)
	}
}

// TestSecretRight: a right that was taken back while the request ran gives nothing, and
// that is one record, not one an attempt.
func TestSecretRight(t *testing.T) {
	for name, read := range map[string]func(*lab) error{
		"secret": func(l *lab) error {
			_, b, err := l.GetSecret(t.Context(), vault, "k", "")
			return errors.Join(err, given(b))
		},
		"key": func(l *lab) error {
			out, err := l.Operate(t.Context(), vault, "k", "", sign)
			if out != nil {
				return given(out.Value)
			}
			return err
		},
	} {
		l := newLab(t)
		l.set(t, "k", canary, keyvault.SecretSettings{})
		l.create(t, "k", keyvault.CreateKey{Kty: "EC"})
		l.right = []release.ObjectState{{Kind: release.ObjectRoles, Name: "p"}}
		if err := read(l); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		l.before = func() { l.takeRight(t) }
		records := len(l.store.Leaves)
		if err := read(l); release.ReasonOf(err) != release.ReasonStateChanged || !errors.Is(err, keyvault.ErrRecorded) {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(l.store.Leaves) - records; n != 2 { // the change and the refusal
			t.Errorf("%s: %d records", name, n)
		}
	}
}

func given(b []byte) error {
	if len(b) > 0 {
		return nil
	}
	return errors.New("nothing given")
}

// TestChangeNeedsItsRight: a right that was taken back while the request ran changes nothing.
func TestChangeNeedsItsRight(t *testing.T) {
	for op, change := range map[string]func(s *keyvault.Service) error{
		"secrets/set": func(s *keyvault.Service) error {
			_, err := s.SetSecret(t.Context(), vault, "k", []byte("new"), keyvault.SecretSettings{})
			return err
		},
		"secrets/update": func(s *keyvault.Service) error {
			_, err := s.UpdateSecret(t.Context(), vault, "k", "", keyvault.SecretSettings{ContentType: ptr("x")})
			return err
		},
		"keys/rotate": func(s *keyvault.Service) error {
			_, err := s.Rotate(t.Context(), vault, "k")
			return err
		},
	} {
		l := newLab(t)
		l.set(t, "k", canary, keyvault.SecretSettings{})
		l.create(t, "k", keyvault.CreateKey{Kty: "oct"})
		l.right = []release.ObjectState{{Kind: release.ObjectRoles, Name: "p"}}
		s := l.service(t, &intruder{Store: l.store, before: op, do: func() { l.takeRight(t) }})
		if err := change(s); release.ReasonOf(err) != release.ReasonStateChanged {
			t.Errorf("%s: %v", op, err)
		}
		if n := l.count(op); op != "secrets/set" && n != 0 || n > 1 {
			t.Errorf("%s: %d records", op, n)
		}
		l.right = nil
		if got := l.read(t, "k", ""); got != canary || l.latest(t, "k").Seq != 1 {
			t.Errorf("%s: done all the same", op)
		}
	}
}

// takeRight changes the role assignments of the principal p.
func (l *lab) takeRight(t testing.TB) {
	t.Helper()
	rec := &release.Record{V: 1, Kind: receipt.KindChange}
	if _, err := l.store.ChangeObject(t.Context(), rec, release.ObjectRoles, "p", func(*release.Object) ([]byte, error) { return []byte("{}"), nil }); err != nil {
		t.Fatal(err)
	}
}

// TestSecretNeedsItsRecord: without a durable record of this very reading there is no value.
func TestSecretNeedsItsRecord(t *testing.T) {
	l := newLab(t)
	l.set(t, "db", canary, keyvault.SecretSettings{})
	l.store.Fault = func(*release.Record) error { return errors.New("disk full") }
	if got := l.unread(t, "db", ""); got != release.ReasonLogUnavailable {
		t.Error(got)
	}
	_, err := l.SetSecret(t.Context(), vault, "db", []byte("x"), keyvault.SecretSettings{})
	if err == nil {
		t.Error("set without its record")
	}
	l.store.Fault = nil
	if got := l.read(t, "db", ""); got != canary {
		t.Error("what was not recorded was kept")
	}
}

// TestSecretIsNoKey: the collections share names and nothing else.
func TestSecretIsNoKey(t *testing.T) {
	l := newLab(t)
	secret := l.set(t, "same", canary, keyvault.SecretSettings{})
	ref := release.KeyRef{Vault: vault, Name: "same"}
	_, err := l.Find(t.Context(), ref)
	want(t, "find", err, release.ReasonKeyUnavailable)
	_, err = l.Get(t.Context(), vault, "same", "")
	want(t, "get", err, release.ReasonNotFound)
	_, err = l.Operate(t.Context(), vault, "same", "", sign)
	want(t, "sign", err, release.ReasonNotFound)
	_, err = l.Rotate(t.Context(), vault, "same")
	want(t, "rotate", err, release.ReasonNotFound)
	key := l.create(t, "same", attested("oct"))
	if key.ObjectID == secret.ObjectID || key.Seq != 1 {
		t.Errorf("%+v", key)
	}
	if got := l.read(t, "same", ""); got != canary {
		t.Error(got)
	}
	if got := l.unread(t, "same", key.Version); got != release.ReasonNotFound {
		t.Errorf("a key's version read as a secret: %s", got)
	}
	// Moved in the database, neither is taken for the other.
	for _, to := range []keyvault.Collection{keyvault.Secrets, keyvault.Keys} {
		l := newLab(t)
		l.set(t, "s", canary, keyvault.SecretSettings{})
		l.create(t, "k", attested("oct"))
		for id, r := range l.store.Rows {
			r.Collection = to
			delete(l.store.Rows, id)
			l.store.Rows[vault+"/"+string(to)+"/"+r.Name+"/"+r.Version] = r
		}
		if to == keyvault.Secrets {
			if got := l.unread(t, "k", ""); got != release.ReasonIntegrity {
				t.Error(got)
			}
		} else if _, err := l.Find(t.Context(), release.KeyRef{Vault: vault, Name: "s"}); release.ReasonOf(err) != release.ReasonIntegrity {
			t.Error(err)
		}
	}
}

// TestSecretEdited: no column can be changed outside of the broker.
func TestSecretEdited(t *testing.T) {
	for name, edit := range map[string]func(*keyvault.Row){
		"content type": func(r *keyvault.Row) { r.ContentType = "x" },
		"enabled":      func(r *keyvault.Row) { r.Attributes.Enabled = false },
		"expiry":       func(r *keyvault.Row) { r.Attributes.Expires = at.Unix() + 1e6 },
		"tags":         func(r *keyvault.Row) { r.Tags = map[string]string{"a": "b"} },
		"deleted":      func(r *keyvault.Row) { r.Deleted = 1 },
		"value":        func(r *keyvault.Row) { r.Sealed[20] ^= 1 },
	} {
		l := newLab(t)
		l.set(t, "db", canary, keyvault.SecretSettings{Expires: ptr(at.Unix() + 1)})
		for _, r := range l.store.Rows {
			edit(r)
		}
		if got := l.unread(t, "db", ""); got != release.ReasonIntegrity {
			t.Errorf("%s: %s", name, got)
		}
		if _, err := l.Verify(t.Context(), vault); release.ReasonOf(err) != release.ReasonIntegrity {
			t.Errorf("%s: the drill passes: %v", name, err)
		}
	}
}

// TestSecretRaces: many setters make as many versions, and readers get whole values.
func TestSecretRaces(t *testing.T) {
	l := newLab(t)
	l.set(t, "db", fmt.Sprint(strings.Repeat("0", 1000)), keyvault.SecretSettings{})
	const n = 16
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			value := bytes.Repeat([]byte{byte('a' + i)}, 1000)
			if _, err := l.SetSecret(t.Context(), vault, "db", value, keyvault.SecretSettings{}); err != nil && release.ReasonOf(err) != release.ReasonConflict {
				t.Error(err)
			}
			clear(value)
		})
		all.Go(func() {
			_, b, err := l.GetSecret(t.Context(), vault, "db", "")
			if err != nil && release.ReasonOf(err) != release.ReasonStateChanged || err == nil && (len(b) != 1000 || bytes.Count(b, b[:1]) != 1000) {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
	all.Wait()
	count, err := l.Verify(t.Context(), vault)
	if err != nil || count.Secrets != 1 || count.Keys != 0 || count.Versions != n+1 {
		t.Errorf("%+v, %v", count, err)
	}
}
