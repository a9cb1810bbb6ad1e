package identity

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
	"github.com/openskr/openskr/release/releasetest"
)

func TestNarrow(t *testing.T) {
	for _, c := range []struct{ scope, vault, want string }{
		{"/", "a", "/vaults/a"},
		{"/vaults/a", "a", "/vaults/a"},
		{"/vaults/a/keys", "a", "/vaults/a/keys"},
		{"/vaults/a/secrets/db", "a", "/vaults/a/secrets/db"},
		{"/vaults/a", "b", ""},
		{"/vaults/ab", "a", ""},
		{"/vaults/a", "ab", ""},
		{"/vaults/b/keys/k", "a", ""},
		{"", "a", ""},
	} {
		if got := narrow(c.scope, c.vault); got != c.want {
			t.Errorf("%q in vault %s is %q, want %q", c.scope, c.vault, got, c.want)
		}
	}
}

// TestAttestable: no role that a machine may have changes anything, or uses a key.
func TestAttestable(t *testing.T) {
	some := 0
	for _, r := range Roles() {
		if !attestable(r.Name) {
			continue
		}
		some++
		for _, a := range r.Actions {
			s := string(a)
			if !strings.HasSuffix(s, "/read") && !strings.HasSuffix(s, "/read/action") && !strings.HasSuffix(s, "/release/action") &&
				!strings.HasSuffix(s, "/getSecret/action") && !strings.HasSuffix(s, "/readMetadata/action") {
				t.Errorf("%s allows %s", r.Name, s)
			}
		}
	}
	if some < 3 {
		t.Errorf("%d roles", some)
	}
	for _, name := range []string{"", "key vault reader", RoleAdministrator, RoleAuditor, RoleIdentityAdmin, RoleCryptoUser} {
		if attestable(name) {
			t.Errorf("%q", name)
		}
	}
}

// TestRoleThatMayNoLongerBeGiven: a row of an older program, whose role since does more.
func TestRoleThatMayNoLongerBeGiven(t *testing.T) {
	a, store := newAttested(t)
	for name, role := range map[string]string{"old": RoleAdministrator, "good": RoleReader} {
		value, err := (&AttestedRole{Name: name, Role: role, Scope: "/", Policy: "package release"}).encode()
		if err != nil {
			t.Fatal(err)
		}
		store.Docs[release.ObjectAttestedRole+"/"+name] = &release.Object{Kind: release.ObjectAttestedRole, Name: name, Generation: 1, Value: value}
	}
	given, err := a.AttestedRoles(t.Context(), "default")
	if err != nil || len(given) != 1 || given[0].Name != "good" || given[0].Scope != "/vaults/default" {
		t.Errorf("%+v, %v", given, err)
	}
	claims := &jose.AttestedClaims{Vault: "default"}
	if err := a.has(t.Context(), &Caller{}, claims.Vault, jose.AttestedState{Name: "old", Generation: 1}); release.ReasonOf(err) != release.ReasonUnauthorized {
		t.Errorf("a token of before: %v", err)
	}
	if _, err := a.Remove(t.Context(), &release.Record{}, "old"); err != nil {
		t.Errorf("it cannot be removed: %v", err)
	}
}

func newAttested(t *testing.T) (*Attested, *releasetest.Store) {
	t.Helper()
	store := releasetest.NewStore()
	a, err := NewAttested(attestedConfig(store))
	if err != nil {
		t.Fatal(err)
	}
	return a, store
}

type noSigner struct{}

func (noSigner) Sign([]byte) (string, error) { return "a.b.c", nil }

func attestedConfig(store *releasetest.Store) AttestedConfig {
	return AttestedConfig{
		Deployment: "d", Objects: store, Signer: noSigner{}, Keys: jose.Keys{"k": nil}, Check: func(context.Context, release.ReleasePolicy) error { return nil },
		Settings: func() receipt.Digest { return receipt.Digest{} }, Now: time.Now,
	}
}

func FuzzDecodeAttestedRole(f *testing.F) {
	r := &AttestedRole{Name: "web", Role: RoleReader, Scope: "/vaults/default/keys/disk", Policy: "package release", Created: 1, Updated: 2}
	b, err := r.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"name":"web","removed":true}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := DecodeAttestedRole("web", b)
		if err != nil {
			return
		}
		if q.Name != "web" || q.Policy == "" || narrow(q.Scope, "default") != "" && !Covers("/vaults/default", narrow(q.Scope, "default")) {
			t.Fatalf("%+v", q)
		}
	})
}
