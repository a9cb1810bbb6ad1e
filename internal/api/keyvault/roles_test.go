package keyvault

import (
	"testing"

	"github.com/openskr/openskr/internal/identity"
)

// FuzzFilter: no filter widens a list beyond what is at, above or below its scope.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"", "atScope()", "principalId eq '11111111-1111-4111-8111-111111111111'", "principalId eq 11111111-1111-4111-8111-111111111111", "principalId eq ''"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		keep, err := parseFilter(s, "/vaults/abc/keys")
		if (keep == nil) == (err == nil) {
			t.Fatal("not either a filter or an error")
		}
		for _, scope := range []string{"/vaults/abcd", "/vaults/abc/secrets", "/vaults/abd/keys"} {
			if err == nil && keep(identity.Held{Assignment: identity.Assignment{Scope: scope}, Principal: "11111111-1111-4111-8111-111111111111"}) {
				t.Fatalf("%q keeps %s", s, scope)
			}
		}
	})
}
