package keyvault_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

func TestCreateDefaults(t *testing.T) {
	l := newLab(t)
	row := l.create(t, "plain", keyvault.CreateKey{Kty: "EC"})
	if a := row.Attributes; !a.Enabled || a.Exportable || row.AttestedOnly || strings.Join(row.KeyOps, " ") != "sign verify" {
		t.Errorf("a plain key: %+v", row)
	}
	if !keyvault.ValidVersion(row.Version) || !keyvault.ValidVersion(row.ObjectID) || row.Seq != 1 || row.Generation != 1 || row.Created != at.Unix() || row.Updated != at.Unix() {
		t.Errorf("identity of a new key: %+v", row)
	}
	row = l.create(t, "attested", attested("RSA"))
	if !row.Attributes.Exportable || !row.AttestedOnly || len(row.KeyOps) != 0 {
		t.Errorf("an attested-only key: %+v", row)
	}
	if len(l.checked) != 1 || string(l.checked[0].Data) != "package release" {
		t.Errorf("policies checked: %v", l.checked)
	}
	got, err := l.Get(t.Context(), "default", "attested", row.Version)
	if err != nil || got.ObjectID != row.ObjectID || got.Policy.Digest != row.Policy.Digest {
		t.Errorf("read back: %+v, %v", got, err)
	}
}

func TestCreateRefuses(t *testing.T) {
	long := map[string]string{"t": strings.Repeat("é", 257)}
	many := map[string]string{}
	for c := 'a'; c < 'a'+16; c++ {
		many[string(c)] = ""
	}
	for name, c := range map[string]struct {
		key    string
		in     keyvault.CreateKey
		reason release.Reason
	}{
		"no name":                     {"", attested("oct"), release.ReasonBadRequest},
		"name with a slash":           {"a/b", attested("oct"), release.ReasonBadRequest},
		"name too long":               {strings.Repeat("a", 128), attested("oct"), release.ReasonBadRequest},
		"name not ASCII":              {"schlüssel", attested("oct"), release.ReasonBadRequest},
		"unknown type":                {"k", attested("OKP"), release.ReasonKeyInvalid},
		"no type":                     {"k", attested(""), release.ReasonKeyInvalid},
		"type in another case":        {"k", attested("rsa"), release.ReasonKeyInvalid},
		"short RSA":                   {"k", keyvault.CreateKey{Kty: "RSA", Size: 1024}, release.ReasonKeyInvalid},
		"odd RSA":                     {"k", keyvault.CreateKey{Kty: "RSA", Size: 2056}, release.ReasonKeyInvalid},
		"negative RSA":                {"k", keyvault.CreateKey{Kty: "RSA", Size: -2048}, release.ReasonKeyInvalid},
		"RSA exponent 3":              {"k", keyvault.CreateKey{Kty: "RSA", PublicExponent: 3}, release.ReasonKeyInvalid},
		"exponent of EC":              {"k", keyvault.CreateKey{Kty: "EC", PublicExponent: 65537}, release.ReasonKeyInvalid},
		"RSA with a curve":            {"k", keyvault.CreateKey{Kty: "RSA", Crv: "P-256"}, release.ReasonKeyInvalid},
		"unknown curve":               {"k", keyvault.CreateKey{Kty: "EC", Crv: "secp256k1"}, release.ReasonKeyInvalid},
		"size against curve":          {"k", keyvault.CreateKey{Kty: "EC", Crv: "P-256", Size: 384}, release.ReasonKeyInvalid},
		"oct of 7 bits":               {"k", keyvault.CreateKey{Kty: "oct", Size: 7}, release.ReasonKeyInvalid},
		"oct of 512 bits":             {"k", keyvault.CreateKey{Kty: "oct", Size: 512}, release.ReasonKeyInvalid},
		"exportable without policy":   {"k", keyvault.CreateKey{Kty: "oct", Exportable: ptr(true)}, release.ReasonPolicyInvalid},
		"attested-only, no policy":    {"k", keyvault.CreateKey{Kty: "oct", Settings: keyvault.Settings{AttestedOnly: ptr(true)}}, release.ReasonPolicyInvalid},
		"attested-only, not exported": {"k", with(attested("oct"), func(c *keyvault.CreateKey) { c.Exportable = ptr(false) }), release.ReasonAttestedOnly},
		"attested-only with ops":      {"k", with(attested("oct"), func(c *keyvault.CreateKey) { c.KeyOps = []string{"encrypt"} }), release.ReasonAttestedOnly},
		"empty policy":                {"k", with(attested("oct"), func(c *keyvault.CreateKey) { c.Policy = rego("") }), release.ReasonPolicyInvalid},
		"policy too long":             {"k", with(attested("oct"), func(c *keyvault.CreateKey) { c.Policy = rego(strings.Repeat("#", 64<<10+1)) }), release.ReasonPolicyInvalid},
		"policy of another type": {"k", with(attested("oct"), func(c *keyvault.CreateKey) {
			c.Policy = &release.ReleasePolicy{ContentType: "text/plain", Data: []byte("x")}
		}), release.ReasonPolicyInvalid},
		"op of another type":         {"k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{KeyOps: []string{"encrypt"}}}, release.ReasonBadRequest},
		"op twice":                   {"k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{KeyOps: []string{"sign", "sign"}}}, release.ReasonBadRequest},
		"op unknown":                 {"k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{KeyOps: []string{"Sign"}}}, release.ReasonBadRequest},
		"nbf after exp":              {"k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{NotBefore: ptr[int64](20), Expires: ptr[int64](10)}}, release.ReasonBadRequest},
		"nbf at exp":                 {"k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{NotBefore: ptr[int64](20), Expires: ptr[int64](20)}}, release.ReasonBadRequest},
		"negative exp":               {"k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{Expires: ptr[int64](-1)}}, release.ReasonBadRequest},
		"exp in the year 10000":      {"k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{Expires: ptr[int64](253402300800)}}, release.ReasonBadRequest},
		"16 tags":                    {"k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{Tags: many}}, release.ReasonBadRequest},
		"long tag":                   {"k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{Tags: long}}, release.ReasonBadRequest},
		"tag without name":           {"k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{Tags: map[string]string{"": "v"}}}, release.ReasonBadRequest},
		"tag with a line end":        {"k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{Tags: map[string]string{"a": "b\n"}}}, release.ReasonBadRequest},
		"tag that turns text around": {"k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{Tags: map[string]string{"a": "b\u202e"}}}, release.ReasonBadRequest},
		"tag that is not UTF-8":      {"k", keyvault.CreateKey{Kty: "EC", Settings: keyvault.Settings{Tags: map[string]string{"a": "\xff"}}}, release.ReasonBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			row, err := l.Create(t.Context(), "default", c.key, c.in)
			want(t, name, err, c.reason)
			if row != nil || len(l.store.Rows) != 0 || len(l.store.Leaves) != 0 || len(l.store.Secrets) != 0 {
				t.Errorf("left behind: %d rows, %d records, %d secrets", len(l.store.Rows), len(l.store.Leaves), len(l.store.Secrets))
			}
		})
	}
}

func with(in keyvault.CreateKey, change func(*keyvault.CreateKey)) keyvault.CreateKey {
	change(&in)
	return in
}

func TestCreateNeedsDrillVaultAndPolicyCheck(t *testing.T) {
	l := newLab(t)
	_, err := l.Create(t.Context(), "other", "k", attested("oct"))
	want(t, "another vault", err, release.ReasonNotFound)
	l.reject = release.Refuse(release.ReasonPolicyInvalid, "line 1")
	_, err = l.Create(t.Context(), "default", "k", attested("oct"))
	want(t, "policy check", err, release.ReasonPolicyInvalid)
	l.ready = release.Refuse(release.ReasonRecoveryNotReady, "drill first")
	_, err = l.Create(t.Context(), "default", "k", attested("oct"))
	want(t, "create before the drill", err, release.ReasonRecoveryNotReady)
	m, err := keyvault.FromJWK(keyvault.JWK{Kty: "oct", K: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Import(t.Context(), "default", "k", keyvault.ImportKey{Material: m})
	want(t, "import before the drill", err, release.ReasonRecoveryNotReady)
	if len(l.store.Rows)+len(l.store.Leaves) != 0 {
		t.Error("something was written")
	}
}

// Every way of changing a key that is attested-only or has an immutable policy
// (security: RP-17, RB-06).
func TestNothingWidens(t *testing.T) {
	type try struct {
		update  *keyvault.UpdateKey
		version *keyvault.CreateKey
		reason  release.Reason
	}
	update := func(s keyvault.Settings) try { return try{update: &keyvault.UpdateKey{Settings: s}} }
	next := func(c keyvault.CreateKey) try { c.Kty = "oct"; return try{version: &c} }
	refused := func(tr try, r release.Reason) try { tr.reason = r; return tr }
	set := func(s keyvault.Settings) keyvault.CreateKey { return keyvault.CreateKey{Settings: s} }
	for name, tr := range map[string]try{
		"ops by update":              refused(update(keyvault.Settings{KeyOps: []string{"encrypt"}}), release.ReasonAttestedOnly),
		"export op by update":        refused(update(keyvault.Settings{KeyOps: []string{"export"}}), release.ReasonAttestedOnly),
		"not attested-only":          refused(update(keyvault.Settings{AttestedOnly: ptr(false)}), release.ReasonAttestedOnly),
		"exportable off":             refused(try{update: &keyvault.UpdateKey{Exportable: ptr(false)}}, release.ReasonBadRequest),
		"another policy":             refused(update(keyvault.Settings{Policy: immutable("package release\nallow := true")}), release.ReasonPolicyImmutable),
		"a space more":               refused(update(keyvault.Settings{Policy: immutable("package release ")}), release.ReasonPolicyImmutable),
		"same policy, not immutable": refused(update(keyvault.Settings{Policy: rego("package release")}), release.ReasonPolicyImmutable),
		"same bytes, another type": refused(update(keyvault.Settings{Policy: &release.ReleasePolicy{
			ContentType: release.ContentTypeJSON, Data: []byte("package release"), Immutable: true,
		}}), release.ReasonPolicyImmutable),
		"new version, another policy":     refused(next(set(keyvault.Settings{Policy: immutable("package release\nallow := true")})), release.ReasonPolicyImmutable),
		"new version, not immutable":      refused(next(set(keyvault.Settings{Policy: rego("package release")})), release.ReasonPolicyImmutable),
		"new version, not attested-only":  refused(next(set(keyvault.Settings{AttestedOnly: ptr(false)})), release.ReasonAttestedOnly),
		"new version with ops":            refused(next(set(keyvault.Settings{KeyOps: []string{"encrypt"}})), release.ReasonAttestedOnly),
		"new version, not exportable":     refused(next(keyvault.CreateKey{Exportable: ptr(false)}), release.ReasonAttestedOnly),
		"the policy itself":               update(keyvault.Settings{Policy: immutable("package release")}),
		"no ops":                          update(keyvault.Settings{KeyOps: []string{}}),
		"attested-only again":             update(keyvault.Settings{AttestedOnly: ptr(true)}),
		"exportable as it is":             {update: &keyvault.UpdateKey{Exportable: ptr(true)}},
		"disabled":                        update(keyvault.Settings{Enabled: ptr(false)}),
		"new version":                     next(keyvault.CreateKey{}),
		"new version, attested-only said": next(set(keyvault.Settings{AttestedOnly: ptr(true), Policy: immutable("package release")})),
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			in := attested("oct")
			in.Policy = immutable("package release")
			old := l.create(t, "k", in)
			var row *keyvault.Row
			var err error
			if tr.update != nil {
				row, err = l.Update(t.Context(), "default", "k", "", *tr.update)
			} else {
				row, err = l.Create(t.Context(), "default", "k", *tr.version)
			}
			want(t, name, err, tr.reason)
			if tr.reason != "" {
				now, err := l.Get(t.Context(), "default", "k", "")
				if err != nil || now.Generation != old.Generation || now.Version != old.Version || len(l.store.Leaves) != 1 {
					t.Errorf("changed: %+v, %v, %d records", now, err, len(l.store.Leaves))
				}
				return
			}
			if !row.AttestedOnly || !row.Attributes.Exportable || len(row.KeyOps) != 0 || !row.Policy.Immutable || row.Policy.Digest != old.Policy.Digest {
				t.Errorf("widened: %+v", row)
			}
			want(t, "operation", row.Operable("encrypt"), release.ReasonAttestedOnly)
		})
	}
}

func TestUpdate(t *testing.T) {
	l := newLab(t)
	first := l.create(t, "k", attested("oct"))
	l.now = l.now.Add(1000)
	key, err := l.release(t, baseURL+"/keys/k", nil)
	if err != nil {
		t.Fatal(err)
	}
	row, err := l.Update(t.Context(), "default", "k", first.Version, keyvault.UpdateKey{Settings: keyvault.Settings{
		NotBefore: ptr[int64](100), Expires: ptr(at.Unix() + 100), Tags: map[string]string{"a": "b"}, Policy: immutable("package release\nx := 1"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if row.Generation != 2 || row.Attributes.NotBefore != 100 || row.Tags["a"] != "b" || !row.Policy.Immutable || row.Version != first.Version || row.ObjectID != first.ObjectID {
		t.Errorf("updated: %+v", row)
	}
	row, err = l.Update(t.Context(), "default", "k", "", keyvault.UpdateKey{Settings: keyvault.Settings{NotBefore: ptr[int64](0)}})
	if err != nil || row.Generation != 3 || row.Attributes.NotBefore != 0 || row.Attributes.Expires != at.Unix()+100 || row.Tags["a"] != "b" {
		t.Errorf("what is not said stays: %+v, %v", row, err)
	}
	again, err := l.release(t, baseURL+"/keys/k", nil)
	if err != nil || string(again) != string(key) {
		t.Errorf("the key changed with its attributes: %v", err)
	}
	if old := l.store.Rows["default/keys/k/"+first.Version]; string(old.Salt) == string(first.Salt) {
		t.Error("not sealed again")
	}
	_, err = l.Update(t.Context(), "default", "none", "", keyvault.UpdateKey{})
	want(t, "no such key", err, release.ReasonNotFound)
	_, err = l.Update(t.Context(), "default", "k", version, keyvault.UpdateKey{})
	want(t, "no such version", err, release.ReasonNotFound)
	_, err = l.Update(t.Context(), "default", "k", "latest", keyvault.UpdateKey{})
	want(t, "not a version", err, release.ReasonBadRequest)
}

func TestUpdateToAttestedOnly(t *testing.T) {
	l := newLab(t)
	l.create(t, "k", keyvault.CreateKey{Kty: "oct", Exportable: ptr(true), Settings: keyvault.Settings{Policy: rego("package release")}})
	row, err := l.Update(t.Context(), "default", "k", "", keyvault.UpdateKey{Settings: keyvault.Settings{AttestedOnly: ptr(true)}})
	if err != nil || !row.AttestedOnly || len(row.KeyOps) != 0 {
		t.Errorf("%+v, %v", row, err)
	}
	l.create(t, "closed", keyvault.CreateKey{Kty: "oct"})
	_, err = l.Update(t.Context(), "default", "closed", "", keyvault.UpdateKey{Settings: keyvault.Settings{AttestedOnly: ptr(true)}})
	want(t, "a key that is not exportable", err, release.ReasonAttestedOnly)
}

func TestOperable(t *testing.T) {
	l := newLab(t)
	row := l.create(t, "k", keyvault.CreateKey{Kty: "EC"})
	want(t, "sign", row.Operable("sign"), "")
	want(t, "encrypt", row.Operable("encrypt"), release.ReasonKeyOperation)
}

func TestRecords(t *testing.T) {
	l := newLab(t)
	row := l.create(t, "k", attested("oct"))
	if _, err := l.Update(t.Context(), "default", "k", "", keyvault.UpdateKey{Settings: keyvault.Settings{Tags: map[string]string{"secret-project": "x"}}}); err != nil {
		t.Fatal(err)
	}
	m, err := keyvault.ParsePrivate(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	imported, err := l.Import(t.Context(), "default", "i", keyvault.ImportKey{Material: m})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Update(t.Context(), "default", "i", "", keyvault.UpdateKey{Settings: keyvault.Settings{KeyOps: []string{"wrapKey", "decrypt"}}}); err != nil {
		t.Fatal(err)
	}
	for i, ops := range []string{"", "", "decrypt,encrypt,unwrapKey,wrapKey", "decrypt,wrapKey"} {
		if got, ok := l.store.Leaves[i].Detail["key_ops"]; !ok || got != ops {
			t.Errorf("record %d: key_ops %q, want %q", i, got, ops)
		}
	}
	for i, op := range []string{"keys/create", "keys/update", "keys/import"} {
		r := l.store.Leaves[i]
		leaf, err := r.Encode()
		if err != nil || r.Operation != op || r.Detail["tags"] == "" || strings.Contains(string(leaf), "secret-project") {
			t.Errorf("record %d: %s, %v", i, leaf, err)
		}
	}
	if r := l.store.Leaves[1]; r.ObjectID != row.ObjectID || r.Version != row.Version || r.Generation != 2 || r.Policy != row.Policy.Digest || r.Object != "k" {
		t.Errorf("record of the update: %+v", r)
	}
	if imported.CreatedIndex != 2 {
		t.Errorf("created by record %d, want 2", imported.CreatedIndex)
	}
}

// Two creates of one name give two versions, whatever comes between reading and
// writing; two first keys agree on one vault key.
func TestConcurrentCreates(t *testing.T) {
	l := newLab(t)
	done := make(chan error)
	const n = 8
	for range n {
		go func() {
			_, err := l.Create(context.Background(), "default", "k", attested("oct"))
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	rows, err := l.Versions(t.Context(), "default", keyvault.Keys, "k", 0, 100)
	if err != nil || len(rows) != n {
		t.Fatalf("%d versions, %v", len(rows), err)
	}
	for i, r := range rows {
		if r.Seq != int64(i+1) || r.ObjectID != rows[0].ObjectID {
			t.Errorf("version %d: seq %d, object %s", i, r.Seq, r.ObjectID)
		}
	}
	if c, err := l.Verify(t.Context(), "default"); err != nil || c.Versions != n {
		t.Errorf("%+v, %v", c, err)
	}
}

// late is a store whose Change gives up, as the log does when the caller's time is over,
// and runs the transaction afterwards, or goes on with it.
type late struct {
	keyvault.Store
	begins bool // before it gives up
	begun  chan struct{}
	left   chan struct{} // closed when the caller has gone
	over   chan struct{}
}

var errTime = errors.New("time is over")

func (s *late) Change(_ context.Context, rec *release.Record, fn func(keyvault.Tx, int64) error) (*release.Committed, error) {
	go func() {
		defer close(s.over)
		if !s.begins {
			<-s.left
		}
		s.Store.Change(context.Background(), rec, func(tx keyvault.Tx, index int64) error { return fn(lateTx{tx, s}, index) }) //nolint:errcheck // what it wrote is looked at
	}()
	if s.begins {
		<-s.begun
	}
	return nil, errTime
}

// lateTx goes on from its first read when the caller has gone.
type lateTx struct {
	keyvault.Tx
	of *late
}

func (t lateTx) Row(vault string, c keyvault.Collection, name, version string) (*keyvault.Row, error) {
	close(t.of.begun)
	<-t.of.left
	return t.Tx.Row(vault, c, name, version)
}

// A transaction that outlives its caller writes the key that was made, not the zeros
// that the caller left behind; one that has not begun by then writes nothing.
func TestTransactionAfterTheCallerLeft(t *testing.T) {
	for name, begins := range map[string]bool{"begun": true, "not begun": false} {
		l := newLab(t)
		st := &late{Store: l.store, begins: begins, begun: make(chan struct{}), left: make(chan struct{}), over: make(chan struct{})}
		s := l.service(t, st)
		raw := []byte("0123456789abcdef")
		m, err := keyvault.ParsePrivate(raw)
		if err != nil {
			t.Fatal(err)
		}
		in := keyvault.ImportKey{Material: m, Settings: attested("oct").Settings}
		if _, err := s.Import(t.Context(), "default", "k", in); !errors.Is(err, errTime) {
			t.Fatal(err)
		}
		close(st.left)
		<-st.over
		switch got, err := l.release(t, baseURL+"/keys/k", nil); {
		case begins && (err != nil || string(got) != string(raw)):
			t.Errorf("%s: released %q, %v", name, got, err)
		case !begins:
			want(t, name, err, release.ReasonKeyUnavailable)
		}
	}
}

func TestList(t *testing.T) {
	l := newLab(t)
	for _, name := range []string{"b", "a", "c", "a"} {
		l.create(t, name, attested("oct"))
	}
	rows, err := l.List(t.Context(), "default", keyvault.Keys, "", 2)
	if err != nil || len(rows) != 2 || rows[0].Name != "a" || rows[0].Seq != 2 || rows[1].Name != "b" {
		t.Errorf("first page: %v, %v", rows, err)
	}
	rows, err = l.List(t.Context(), "default", keyvault.Keys, "b", 2)
	if err != nil || len(rows) != 1 || rows[0].Name != "c" {
		t.Errorf("second page: %v, %v", rows, err)
	}
	_, err = l.Get(t.Context(), "default", "none", "")
	want(t, "get of nothing", err, release.ReasonNotFound)
	_, err = l.Find(t.Context(), release.KeyRef{Vault: "default", Name: "none"})
	want(t, "find of nothing", err, release.ReasonKeyUnavailable)
	_, err = l.Find(t.Context(), release.KeyRef{Vault: "other", Name: "a"})
	want(t, "find in another vault", err, release.ReasonKeyUnavailable)
}
