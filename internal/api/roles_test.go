package api

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/identity"
)

// TestRolesDocument: the table of docs/wire/native.md is the table of the code.
func TestRolesDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/wire/native.md")
	if err != nil {
		t.Fatal(err)
	}
	roles := identity.Roles()
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 {
			continue
		}
		role := strings.TrimSpace(cells[1])
		want, ok := roles[role]
		if !ok {
			continue
		}
		var got []identity.Action
		for a := range strings.SplitSeq(cells[2], ",") {
			got = append(got, identity.Action(strings.Trim(a, " `")))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: documented %v, is %v", role, got, want)
		}
		delete(roles, role)
	}
	for role := range roles {
		t.Errorf("%s is not documented", role)
	}
}
