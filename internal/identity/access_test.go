package identity

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/releasetest"
)

func newAccess(t *testing.T) (*Access, *releasetest.Store) {
	t.Helper()
	st := releasetest.NewStore()
	a, err := NewAccess(AccessConfig{
		Objects: st, Now: func() time.Time { return time.Unix(1_800_000_000, 0) },
		Right:  func(context.Context) []release.ObjectState { return nil },
		Record: func(_ context.Context, op string) *release.Record { return &release.Record{V: 1, Operation: op} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return a, st
}

func (a *Access) made(t *testing.T, name string, roles ...string) string {
	t.Helper()
	p, _, err := a.CreatePrincipal(t.Context(), name, true, Proofs{})
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range roles {
		if _, err := a.Assign(t.Context(), "init", Held{Assignment{ID: newUUID(), Role: role, Scope: Everywhere}, p.ID}); err != nil {
			t.Fatal(err)
		}
	}
	return p.ID
}

func (a *Access) heldBy(t *testing.T, principal string) []Assignment {
	t.Helper()
	list, _, err := readAssignments(t.Context(), a.c.Objects, principal)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestLastAdministrator: whatever is taken away at once, somebody can still give rights.
func TestLastAdministrator(t *testing.T) {
	a, _ := newAccess(t)
	ids := make([]string, 4)
	for i, role := range []string{RoleIdentityAdmin, "Managed HSM Policy Administrator", "Managed HSM Administrator", "Managed HSM Crypto Officer"} {
		ids[i] = a.made(t, "admin of "+role, role)
	}
	a.made(t, "no administrator", RoleAdministrator, RoleMachineOperator, RoleAuditor)
	if _, err := a.Assign(t.Context(), "", Held{Assignment{ID: newUUID(), Role: RoleIdentityAdmin, Scope: Everywhere}, newUUID()}); err != nil {
		t.Fatal(err) // of an issuer; nothing here says that it is anybody
	}
	errs := make([]error, len(ids))
	var wait sync.WaitGroup
	for i, id := range ids {
		wait.Go(func() {
			switch i % 3 {
			case 0:
				_, errs[i] = a.Unassign(t.Context(), Everywhere, a.heldBy(t, id)[0].ID)
			case 1:
				_, errs[i] = a.Enable(t.Context(), id, false)
			default:
				errs[i] = a.DeletePrincipal(t.Context(), id)
			}
		})
	}
	wait.Wait()
	refused := 0
	for _, err := range errs {
		if err == nil {
			continue
		}
		if refused++; release.ReasonOf(err) != release.ReasonLastAdministrator {
			t.Error(err)
		}
	}
	if refused != 1 {
		t.Errorf("%d of 4 refused: %v", refused, errs)
	}
}

// TestUnprovableAdministrator: one that nothing proves is none.
func TestUnprovableAdministrator(t *testing.T) {
	a, _ := newAccess(t)
	id := a.made(t, "admin", RoleIdentityAdmin)
	p, _, err := a.CreatePrincipal(t.Context(), "nobody", false, Proofs{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Assign(t.Context(), "", Held{Assignment{ID: newUUID(), Role: RoleIdentityAdmin, Scope: Everywhere}, p.ID}); err != nil {
		t.Fatal(err)
	}
	if err := a.DeletePrincipal(t.Context(), id); release.ReasonOf(err) != release.ReasonLastAdministrator {
		t.Errorf("the last that could be proven is gone: %v", err)
	}
	if _, err := a.SetProofs(t.Context(), p.ID, Proofs{Federated: &[]Federated{}}); err != nil {
		t.Errorf("nothing was taken away: %v", err)
	}
	if _, err := a.SetProofs(t.Context(), p.ID, Proofs{Certificates: &[]Certificate{{SAN: "dns:app.example"}}}); err != nil {
		t.Fatal(err)
	}
	if err := a.DeletePrincipal(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := a.SetProofs(t.Context(), p.ID, Proofs{Certificates: &[]Certificate{}}); release.ReasonOf(err) != release.ReasonLastAdministrator {
		t.Errorf("the last credential of the last administrator: %v", err)
	}
}

// What does not end somebody's right to give rights is never refused.
func TestNotTheLast(t *testing.T) {
	a, _ := newAccess(t)
	id := a.made(t, "admin", RoleIdentityAdmin, RoleReader, "Managed HSM Policy Administrator")
	list := a.heldBy(t, id)
	if _, err := a.Unassign(t.Context(), Everywhere, list[1].ID); err != nil {
		t.Error(err)
	}
	if _, err := a.Unassign(t.Context(), Everywhere, list[0].ID); err != nil { // the other gives it too
		t.Error(err)
	}
	if _, err := a.Enable(t.Context(), a.made(t, "reader", RoleReader), false); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"unassign": second(a.Unassign(t.Context(), Everywhere, list[2].ID)),
		"disable":  second(a.Enable(t.Context(), id, false)),
		"delete":   a.DeletePrincipal(t.Context(), id),
	} {
		if release.ReasonOf(err) != release.ReasonLastAdministrator {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAssignFailures: what is not recorded does not take effect.
func TestAssignFailures(t *testing.T) {
	a, st := newAccess(t)
	id := a.made(t, "p")
	st.Fault = func(*release.Record) error { return errors.New("disk") }
	h := Held{Assignment{ID: newUUID(), Role: RoleReader, Scope: Everywhere}, id}
	if _, err := a.Assign(t.Context(), "", h); err == nil {
		t.Error("assigned without a record")
	}
	if _, err := a.Enable(t.Context(), id, false); err == nil {
		t.Error("disabled without a record")
	}
	st.Fault = nil
	if p, err := a.Principal(t.Context(), id); err != nil || !p.Enabled || len(a.heldBy(t, id)) != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	for n := range maxAssignments {
		h.ID, h.Scope = newUUID(), "/vaults/default/keys/k"+strings.Repeat("k", n%120)+string(rune('0'+n/120))
		if _, err := a.Assign(t.Context(), "", h); err != nil {
			t.Fatal(err)
		}
	}
	h.ID, h.Scope = newUUID(), "/vaults/default"
	if _, err := a.Assign(t.Context(), "", h); release.ReasonOf(err) != release.ReasonConflict {
		t.Errorf("one too many: %v", err)
	}
}

// TestPrincipalLife: a secret is shown once, replaced at once, and gone with its principal.
func TestPrincipalLife(t *testing.T) {
	a, st := newAccess(t)
	a.made(t, "admin", RoleIdentityAdmin)
	p, secret, err := a.CreatePrincipal(t.Context(), "web", true, Proofs{Federated: &[]Federated{{Issuer: "https://issuer.example", Subject: "s", Audience: "a"}}})
	if err != nil || secret == "" {
		t.Fatal(err)
	}
	proves := func(s string) bool {
		now, err := DecodePrincipal(p.ID, st.Docs[release.ObjectPrincipal+"/"+p.ID].Value)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := b64.DecodeString(s)
		return now.proves(b)
	}
	next, err := a.ResetSecret(t.Context(), p.ID)
	if err != nil || next == secret || proves(secret) || !proves(next) {
		t.Errorf("reset: %v", err)
	}
	if _, err := a.Assign(t.Context(), "", Held{Assignment{ID: newUUID(), Role: RoleReader, Scope: "/vaults/default"}, p.ID}); err != nil {
		t.Fatal(err)
	}
	if err := a.DeletePrincipal(t.Context(), p.ID); err != nil || proves(next) || proves("") || len(a.heldBy(t, p.ID)) != 0 {
		t.Errorf("deleted: %v", err)
	}
	for name, err := range map[string]error{
		"again":  a.DeletePrincipal(t.Context(), p.ID),
		"enable": second(a.Enable(t.Context(), p.ID, true)),
		"reset":  second(a.ResetSecret(t.Context(), p.ID)),
		"show":   second(a.Principal(t.Context(), p.ID)),
		"proofs": second(a.SetProofs(t.Context(), p.ID, Proofs{Certificates: &[]Certificate{{SAN: "dns:a"}}})),
		"no id":  second(a.Principal(t.Context(), "../x")),
	} {
		if release.ReasonOf(err) != release.ReasonNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if list, _, err := a.Principals(t.Context(), "", 10); err != nil || len(list) != 1 {
		t.Errorf("%d listed, %v", len(list), err)
	}
	if q, secret, err := a.CreatePrincipal(t.Context(), "by certificate", false, Proofs{}); err != nil || secret != "" || q.proves(nil) {
		t.Errorf("no secret: %v", err)
	}
	for _, rec := range st.Leaves {
		if b, err := rec.Encode(); err != nil || strings.Contains(string(b), secret) || strings.Contains(string(b), next) {
			t.Errorf("%s, %v", b, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestAdopt: principals of a store made before there were assignments keep what they
// had, once.
func TestAdopt(t *testing.T) {
	a, st := newAccess(t)
	old := `{"id":"11111111-1111-4111-8111-111111111111","name":"administrator","salt":"AAAAAAAAAAAAAAAAAAAAAA==","secret_hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","roles":["Key Vault Administrator","OpenSKR Auditor"],"enabled":true,"created":1}`
	const id = "11111111-1111-4111-8111-111111111111"
	st.Docs[release.ObjectPrincipal+"/"+id] = &release.Object{Kind: release.ObjectPrincipal, Name: id, Generation: 1, Value: []byte(old)}
	for range 2 {
		if err := a.Adopt(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for _, one := range a.heldBy(t, id) {
		names = append(names, one.Role+" "+one.Scope)
	}
	if !slices.Equal(names, []string{"Key Vault Administrator /", "OpenSKR Auditor /", "OpenSKR Identity Administrator /"}) || len(st.Leaves) != 2 || st.Leaves[0].Operation != OpAdopt {
		t.Errorf("%q, %d records", names, len(st.Leaves))
	}
	for _, one := range a.heldBy(t, id)[:2] {
		if _, err := a.Unassign(t.Context(), Everywhere, one.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Adopt(t.Context()); err != nil || len(a.heldBy(t, id)) != 1 {
		t.Errorf("what was taken away came back: %v", err)
	}
	delete(st.Docs, release.ObjectRoles+"/"+id)
	if err := a.Adopt(t.Context()); err != nil || len(a.heldBy(t, id)) != 0 {
		t.Errorf("what was taken away came back when its row was gone: %v", err)
	}
}

// TestState: what a caller's right rests on, generation 0 where there is nothing yet.
func TestState(t *testing.T) {
	f := newFixture(t)
	tok := f.token(t)
	c, err := f.Authenticate(t.Context(), tok)
	want := []release.ObjectState{{Kind: release.ObjectPrincipal, Name: f.p.ID}, {Kind: release.ObjectRoles, Name: f.p.ID}}
	if err != nil || !slices.Equal(c.State, want) {
		t.Errorf("%+v, %v", c.State, err)
	}
	delete(f.objects.values, release.ObjectRoles+"/"+f.p.ID)
	if c, err = f.Authenticate(t.Context(), tok); err != nil || !slices.Equal(c.State, want) || len(c.Assignments) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	f.objects.values[release.ObjectRoles+"/"+f.p.ID] = []byte(`{"assignments":[{"id":"x"}]}`)
	if _, err = f.Authenticate(t.Context(), tok); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("%v", err)
	}
}

func TestScopes(t *testing.T) {
	for s, ok := range map[string]bool{
		"/": true, "/vaults/abc": true, "/vaults/abc/keys": true, "/vaults/abc/secrets/db-1": true,
		"": false, "//": false, "/vaults": false, "/vaults/": false, "/vaults/ab": false, "/vaults/ABC": false, "/vaults/abc/": false, "/vaults/abc/certificates": false,
		"/vaults/abc/keys/": false, "/vaults/abc/keys/Disk": false, "/vaults/abc/keys/a_b": false, "/vaults/abc/keys/a/b": false, "/keys": false, "vaults/abc": false,
		"/vaults/*": false, "/vaults/abc/keys/*": false, "/vaults/abc/keys/..": false,
	} {
		if ValidScope(s) != ok {
			t.Errorf("%q: %v", s, !ok)
		}
	}
	for _, c := range []struct {
		scope, below string
		want         bool
	}{
		{"/", "/vaults/abc/keys/k", true},
		{"/vaults/abc", "/vaults/abc", true},
		{"/vaults/abc", "/vaults/abc/keys/k", true},
		{"/vaults/abc", "/vaults/abcd", false},
		{"/vaults/abc/keys/k", "/vaults/abc/keys/k2", false},
		{"/vaults/abc/keys/k", "/vaults/abc/keys", false},
		{"/vaults/abc/keys", "/vaults/abc/secrets", false},
		{"/vaults/abc", "/", false},
		{"", "/", false},
		{"", "/vaults/abc", false},
	} {
		if Covers(c.scope, c.below) != c.want {
			t.Errorf("%q covers %q: %v", c.scope, c.below, !c.want)
		}
	}
}

// Two roles of one id, or of one name, would be one.
func TestRoleTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Roles() {
		if seen[r.ID] || seen[r.Name] || !ValidID(r.ID) || len(r.Actions) == 0 || r.Description == "" {
			t.Errorf("%+v", r)
		}
		seen[r.ID], seen[r.Name] = true, true
		for _, a := range r.DataActions() {
			if r.HSM != strings.HasPrefix(a, "Microsoft.KeyVault/managedHsm/") && r.HSM {
				t.Errorf("%s says %s", r.Name, a)
			}
		}
	}
}

func FuzzDecodeAssignments(f *testing.F) {
	b, err := EncodeAssignments([]Assignment{{ID: newUUID(), Role: RoleReader, Scope: "/vaults/default/keys/k", Created: 1, By: "init"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"assignments":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := DecodeAssignments(b)
		if err != nil {
			return
		}
		c := &Caller{Assignments: list}
		for _, a := range list {
			if !ValidScope(a.Scope) || !ValidID(a.ID) {
				t.Fatalf("%+v", a)
			}
		}
		if c.May("", Everywhere) || c.May("nothing", Everywhere) {
			t.Fatal("allowed")
		}
	})
}

// TestStaleRight: who lost its right while it waited changes nothing.
func TestStaleRight(t *testing.T) {
	a, st := newAccess(t)
	admin := a.made(t, "admin", RoleIdentityAdmin)
	other := a.made(t, "other", RoleReader)
	before := len(st.Leaves)
	held := Held{Assignment{ID: newUUID(), Role: RoleReader, Scope: "/vaults/default"}, other}
	calls := map[string]func() error{
		"assign":   func() error { return second(a.Assign(t.Context(), admin, held)) },
		"unassign": func() error { return second(a.Unassign(t.Context(), Everywhere, a.heldBy(t, other)[0].ID)) },
		"create":   func() error { _, _, err := a.CreatePrincipal(t.Context(), "x", true, Proofs{}); return err },
		"disable":  func() error { return second(a.Enable(t.Context(), other, false)) },
		"enable":   func() error { return second(a.Enable(t.Context(), other, true)) },
		"proofs":   func() error { return second(a.SetProofs(t.Context(), other, Proofs{})) },
		"reset":    func() error { return second(a.ResetSecret(t.Context(), other)) },
		"delete":   func() error { return a.DeletePrincipal(t.Context(), other) },
	}
	for _, state := range []release.ObjectState{
		{Kind: release.ObjectRoles, Name: admin, Generation: 2},
		{Kind: release.ObjectRoles, Name: admin},
		{Kind: release.ObjectPrincipal, Name: newUUID(), Generation: 1},
	} {
		a.c.Right = func(context.Context) []release.ObjectState { return []release.ObjectState{state} }
		for name, call := range calls {
			if err := call(); release.ReasonOf(err) != release.ReasonStateChanged {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if len(st.Leaves) != before {
		t.Errorf("%d records", len(st.Leaves)-before)
	}
	a.c.Right = func(context.Context) []release.ObjectState {
		return []release.ObjectState{{Kind: release.ObjectRoles, Name: admin, Generation: 1}, {Kind: release.ObjectRoles, Name: held.ID}}
	}
	for _, name := range []string{"assign", "reset", "delete"} {
		if err := calls[name](); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNames: a name is one principal's, whatever its case, until that is deleted; those
// who shared one before keep it.
func TestNames(t *testing.T) {
	a, st := newAccess(t)
	id := a.made(t, "web")
	for name, want := range map[string]release.Reason{
		"web": release.ReasonConflict, "WEB": release.ReasonConflict, "web ": release.ReasonConflict,
		id: release.ReasonBadRequest, strings.ToUpper(id): release.ReasonBadRequest,
	} {
		if _, _, err := a.CreatePrincipal(t.Context(), name, true, Proofs{}); err == nil || release.ReasonOf(err) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
	twin, _, err := NewPrincipal("web", time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	value, err := twin.Encode()
	if err != nil {
		t.Fatal(err)
	}
	st.Docs[release.ObjectPrincipal+"/"+twin.ID] = &release.Object{Kind: release.ObjectPrincipal, Name: twin.ID, Generation: 1, Value: value}
	for _, one := range []string{id, twin.ID} {
		if _, err := a.ResetSecret(t.Context(), one); err != nil {
			t.Error(err)
		}
		if err := a.DeletePrincipal(t.Context(), one); err != nil {
			t.Error(err)
		}
	}
	a.made(t, "Web")
}

// TestSecretIsNoOption: no command line takes a secret for an option.
func TestSecretIsNoOption(t *testing.T) {
	for range 2000 {
		var p Principal
		if s := p.newSecret(); strings.HasPrefix(s, "-") {
			t.Fatal(s)
		}
	}
}
