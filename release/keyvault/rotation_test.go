package keyvault_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

const vault = keyvault.DefaultVault

func span(t testing.TB, s string) keyvault.Duration {
	t.Helper()
	if s == "" {
		return keyvault.Duration{}
	}
	d, err := keyvault.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func action(t testing.TB, word, after, before string) keyvault.LifetimeAction {
	return keyvault.LifetimeAction{Action: word, AfterCreate: span(t, after), BeforeExpiry: span(t, before)}
}

func (l *lab) setPolicy(t testing.TB, name string, p keyvault.RotationPolicy) {
	t.Helper()
	if _, err := l.SetRotationPolicy(t.Context(), vault, name, p); err != nil {
		t.Fatal(err)
	}
}

// days lets time pass.
func (l *lab) days(n int) { l.now = l.now.Add(time.Duration(n) * 24 * time.Hour) }

func (l *lab) due(t testing.TB) {
	t.Helper()
	if err := l.RotateDue(t.Context()); err != nil {
		t.Error(err)
	}
}

// count says how many records of an operation there are.
func (l *lab) count(op string) (n int) {
	for _, r := range l.store.Leaves {
		if r.Operation == op {
			n++
		}
	}
	return n
}

func (l *lab) latest(t testing.TB, name string) *keyvault.Row {
	t.Helper()
	row, err := l.Get(t.Context(), vault, name, "")
	if err != nil {
		t.Fatal(err)
	}
	return row
}

// TestRotate: the new version is the old one but for its material and its time.
func TestRotate(t *testing.T) {
	for name, in := range map[string]keyvault.CreateKey{
		"RSA":   {Kty: "RSA", Size: 2048, Settings: keyvault.Settings{KeyOps: []string{"sign"}, Tags: map[string]string{"a": "b"}}},
		"EC":    {Kty: "EC", Crv: "P-384"},
		"P256K": {Kty: "EC", Crv: "P-256K"},
		"oct":   {Kty: "oct", Size: 192, Exportable: ptr(true), Settings: keyvault.Settings{Policy: immutable("package release")}},
		"only":  attested("oct"),
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			in.NotBefore, in.Expires = ptr(at.Unix()+100), ptr(at.Unix()+1000)
			old := l.create(t, "K", in)
			if _, err := l.Update(t.Context(), vault, "k", "", keyvault.UpdateKey{Settings: keyvault.Settings{Enabled: ptr(false)}}); err != nil {
				t.Fatal(err)
			}
			l.setPolicy(t, "k", keyvault.RotationPolicy{Expiry: span(t, "P1Y")})
			l.days(1)
			row, err := l.Rotate(t.Context(), vault, "k")
			if err != nil {
				t.Fatal(err)
			}
			got := l.latest(t, "k")
			if got.Version != row.Version || row.Version == old.Version || row.Seq != 2 || row.Generation != 1 || row.Created != l.now.Unix() || row.Updated != l.now.Unix() ||
				row.CreatedIndex == old.CreatedIndex {
				t.Errorf("%+v", row)
			}
			if !row.Attributes.Enabled || row.Attributes.NotBefore != 0 || row.Attributes.Expires != l.now.AddDate(1, 0, 0).Unix() {
				t.Errorf("attributes %+v", row.Attributes)
			}
			if row.Name != "K" || row.ObjectID != old.ObjectID || row.Kty != old.Kty || row.Crv != old.Crv || row.Size != old.Size || !slices.Equal(row.KeyOps, old.KeyOps) ||
				row.Tags["a"] != old.Tags["a"] || row.AttestedOnly != old.AttestedOnly || row.Attributes.Exportable != old.Attributes.Exportable ||
				!bytes.Equal(row.Policy.Data, old.Policy.Data) || row.Policy.Digest != old.Policy.Digest || row.Policy.Immutable != old.Policy.Immutable {
				t.Errorf("not taken over: %+v of %+v", row, old)
			}
			if bytes.Equal(row.Sealed, old.Sealed) || len(old.Public) > 0 && bytes.Equal(row.Public, old.Public) {
				t.Error("the material is the old one")
			}
			if r := l.store.Leaves[len(l.store.Leaves)-1]; r.Operation != "keys/rotate" || r.Version != row.Version {
				t.Errorf("record %+v", r)
			}
		})
	}
}

func TestRotationPolicyRules(t *testing.T) {
	l := newLab(t)
	l.create(t, "k", keyvault.CreateKey{Kty: "oct"})
	rotate, notify := keyvault.ActionRotate, keyvault.ActionNotify
	list := func(a ...keyvault.LifetimeAction) []keyvault.LifetimeAction { return a }
	for name, c := range map[string]struct {
		p    keyvault.RotationPolicy
		want release.Reason
	}{
		"empty":            {keyvault.RotationPolicy{}, ""},
		"both":             {keyvault.RotationPolicy{Actions: list(action(t, rotate, "P90D", ""), action(t, notify, "", "P30D")), Expiry: span(t, "P2Y")}, ""},
		"28 days":          {keyvault.RotationPolicy{Expiry: span(t, "P28D")}, ""},
		"a month":          {keyvault.RotationPolicy{Expiry: span(t, "P1M")}, ""},
		"27 days":          {keyvault.RotationPolicy{Expiry: span(t, "P27D")}, release.ReasonBadRequest},
		"two rotations":    {keyvault.RotationPolicy{Actions: list(action(t, rotate, "P90D", ""), action(t, rotate, "P91D", ""))}, release.ReasonBadRequest},
		"two notices":      {keyvault.RotationPolicy{Actions: list(action(t, notify, "P90D", ""), action(t, rotate, "P9D", ""), action(t, notify, "", "P1D"))}, release.ReasonBadRequest},
		"no trigger":       {keyvault.RotationPolicy{Actions: list(action(t, rotate, "", ""))}, release.ReasonBadRequest},
		"both triggers":    {keyvault.RotationPolicy{Actions: list(action(t, rotate, "P90D", "P30D"))}, release.ReasonBadRequest},
		"other action":     {keyvault.RotationPolicy{Actions: list(action(t, "rotate", "P90D", ""))}, release.ReasonBadRequest},
		"for ever":         {keyvault.RotationPolicy{Actions: list(action(t, rotate, "", "P28D")), Expiry: span(t, "P28D")}, release.ReasonBadRequest},
		"for ever, months": {keyvault.RotationPolicy{Actions: list(action(t, rotate, "", "P30D")), Expiry: span(t, "P1M")}, release.ReasonBadRequest},
		"just not":         {keyvault.RotationPolicy{Actions: list(action(t, rotate, "", "P27D")), Expiry: span(t, "P28D")}, ""},
	} {
		records := len(l.store.Leaves)
		_, err := l.SetRotationPolicy(t.Context(), vault, "k", c.p)
		want(t, name, err, c.want)
		if written := len(l.store.Leaves) != records; written != (c.want == "") {
			t.Errorf("%s: record written: %v", name, written)
		}
	}
	_, err := l.SetRotationPolicy(t.Context(), vault, "other", keyvault.RotationPolicy{})
	want(t, "no key", err, release.ReasonNotFound)
	_, err = l.RotationPolicy(t.Context(), vault, "other")
	want(t, "no key", err, release.ReasonNotFound)
	_, err = l.Rotate(t.Context(), vault, "other")
	want(t, "no key", err, release.ReasonNotFound)
}

// TestRotationPolicyKept: what was set is what is read, its first time stays; without
// one there is the default.
func TestRotationPolicyKept(t *testing.T) {
	l := newLab(t)
	l.create(t, "k", keyvault.CreateKey{Kty: "oct"})
	p, err := l.RotationPolicy(t.Context(), vault, "k")
	if err != nil || len(p.Actions) != 1 || p.Actions[0].Action != keyvault.ActionNotify || p.Actions[0].BeforeExpiry.String() != "P30D" || p.Created != 0 {
		t.Errorf("default %+v, %v", p, err)
	}
	l.setPolicy(t, "k", keyvault.RotationPolicy{Expiry: span(t, "P1Y")})
	l.days(1)
	l.setPolicy(t, "K", keyvault.RotationPolicy{Actions: []keyvault.LifetimeAction{action(t, keyvault.ActionRotate, "P90D", "")}})
	p, err = l.RotationPolicy(t.Context(), vault, "k")
	if err != nil || p.Created != at.Unix() || p.Updated != l.now.Unix() || !p.Expiry.IsZero() || len(p.Actions) != 1 || p.Actions[0].AfterCreate.String() != "P90D" {
		t.Errorf("%+v, %v", p, err)
	}
	r := l.store.Leaves[len(l.store.Leaves)-1]
	if r.Operation != "keys/setrotationpolicy" || r.Object != "k" || r.ObjectID == "" || r.Detail["rotate_after_create"] != "P90D" || r.Detail["expiry"] != "" {
		t.Errorf("record %+v", r)
	}
	for _, o := range l.store.Docs {
		o.Value = bytes.ReplaceAll(o.Value, []byte("P90D"), []byte("PT9S"))
	}
	_, err = l.RotationPolicy(t.Context(), vault, "k")
	want(t, "edited", err, release.ReasonIntegrity)
	if err := l.RotateDue(t.Context()); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Error("the scheduler says nothing about a policy that cannot be read")
	}
}

// TestRotateDue: at its time, once, and again after the next span.
func TestRotateDue(t *testing.T) {
	l := newLab(t)
	l.create(t, "aged", keyvault.CreateKey{Kty: "oct"})
	l.create(t, "ending", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{Expires: ptr(at.AddDate(0, 0, 100).Unix())}})
	l.create(t, "plain", keyvault.CreateKey{Kty: "oct"})
	l.setPolicy(t, "aged", keyvault.RotationPolicy{Actions: []keyvault.LifetimeAction{action(t, keyvault.ActionRotate, "P90D", "")}})
	l.setPolicy(t, "ending", keyvault.RotationPolicy{Actions: []keyvault.LifetimeAction{action(t, keyvault.ActionRotate, "", "P30D")}, Expiry: span(t, "P60D")})
	seqs := func(want ...int64) {
		t.Helper()
		l.due(t)
		fresh := l.service(t, l.store) // a restart
		if err := fresh.RotateDue(t.Context()); err != nil {
			t.Error(err)
		}
		for i, name := range []string{"aged", "ending", "plain"} {
			if row := l.latest(t, name); row.Seq != want[i] {
				t.Errorf("day %v: %s is at version %d, want %d", l.now.Sub(at), name, row.Seq, want[i])
			}
		}
	}
	seqs(1, 1, 1)
	l.days(69)
	seqs(1, 1, 1)
	l.days(1) // 70: 30 days before the end
	seqs(1, 2, 1)
	if got := l.latest(t, "ending").Attributes.Expires; got != l.now.AddDate(0, 0, 60).Unix() {
		t.Errorf("expires %d", got)
	}
	l.days(20) // 90
	seqs(2, 2, 1)
	l.days(10) // 100
	seqs(2, 3, 1)
	l.days(80) // 180
	seqs(3, 4, 1)
	if n := l.count("keys/rotate"); n != 5 {
		t.Errorf("%d rotations", n)
	}
	for _, r := range l.store.Leaves {
		if r.Operation == "keys/rotate" && r.Kind != receipt.KindChange {
			t.Errorf("%+v", r)
		}
	}
}

// TestNearExpiry: a record and an event for each version, once, by a policy of its own
// or the default one.
func TestNearExpiry(t *testing.T) {
	l := newLab(t)
	end := ptr(at.AddDate(0, 0, 60).Unix())
	l.create(t, "default", keyvault.CreateKey{Kty: "oct", Settings: keyvault.Settings{Expires: end}})
	l.create(t, "own", keyvault.CreateKey{Kty: "oct", Settings: keyvault.Settings{Expires: end}})
	l.create(t, "silent", keyvault.CreateKey{Kty: "oct", Settings: keyvault.Settings{Expires: end}})
	l.create(t, "endless", keyvault.CreateKey{Kty: "oct"})
	l.setPolicy(t, "own", keyvault.RotationPolicy{Actions: []keyvault.LifetimeAction{action(t, keyvault.ActionNotify, "", "P10D")}})
	l.setPolicy(t, "silent", keyvault.RotationPolicy{})
	told := func(want ...string) {
		t.Helper()
		l.told = nil
		l.due(t)
		l.due(t)
		if err := l.service(t, l.store).RotateDue(t.Context()); err != nil { // a restart
			t.Error(err)
		}
		if !slices.Equal(l.told, want) {
			t.Errorf("told of %v, want %v", l.told, want)
		}
	}
	l.days(29)
	told()
	l.days(1)
	told("default")
	l.days(20)
	told("own")
	l.create(t, "default", keyvault.CreateKey{Kty: "oct", Settings: keyvault.Settings{Expires: end}})
	told("default")
	if n := l.count("keys/nearexpiry"); n != 3 {
		t.Errorf("%d records", n)
	}
	p, err := l.RotationPolicy(t.Context(), vault, "default")
	if err != nil || len(p.Actions) != 1 || p.Created != 0 {
		t.Errorf("a notice sets no policy: %+v, %v", p, err)
	}
}

// TestRotationLeavesAlone: a disabled key stays stopped, a deleted one too, and the
// policy of a purged key is not for the next of its name.
func TestRotationLeavesAlone(t *testing.T) {
	l := newLab(t)
	p := keyvault.RotationPolicy{Actions: []keyvault.LifetimeAction{action(t, keyvault.ActionRotate, "P1D", ""), action(t, keyvault.ActionNotify, "P1D", "")}}
	for _, name := range []string{"disabled", "deleted", "purged"} {
		l.create(t, name, keyvault.CreateKey{Kty: "oct"})
		l.setPolicy(t, name, p)
	}
	off := keyvault.UpdateKey{Settings: keyvault.Settings{Enabled: ptr(false)}}
	if _, err := l.Update(t.Context(), vault, "disabled", "", off); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"deleted", "purged"} {
		if _, err := l.Delete(t.Context(), vault, keyvault.Keys, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Purge(t.Context(), vault, keyvault.Keys, "purged"); err != nil {
		t.Fatal(err)
	}
	l.create(t, "purged", keyvault.CreateKey{Kty: "oct"})
	_, err := l.Rotate(t.Context(), vault, "deleted")
	want(t, "deleted, by hand", err, release.ReasonNotFound)
	l.days(2)
	l.due(t)
	if n := l.count("keys/rotate"); n != 0 || !slices.Equal(l.told, []string{"disabled"}) {
		t.Errorf("%d rotations, told of %v", n, l.told)
	}
	if _, err := l.Recover(t.Context(), vault, keyvault.Keys, "deleted"); err != nil {
		t.Fatal(err)
	}
	l.due(t)
	if row := l.latest(t, "deleted"); row.Seq != 2 {
		t.Errorf("a recovered key has its policy again: version %d", row.Seq)
	}
}
