package api

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/identity"
)

var update = flag.Bool("update", false, "write generated parts of documents again")

// TestRolesDocument: the table of docs/roles.md is the table of the code.
func TestRolesDocument(t *testing.T) {
	const file, begin, end = "../../docs/roles.md", "<!-- roles -->\n", "<!-- /roles -->"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", file)
	}
	var table strings.Builder
	table.WriteString("| role | id | where | allows |\n|---|---|---|---|\n")
	for _, r := range identity.Roles() {
		where := "any scope"
		if r.Everywhere {
			where = "`/`"
		}
		actions := make([]string, len(r.Actions))
		for i, a := range r.Actions {
			actions[i] = "`" + strings.TrimPrefix(string(a), "Microsoft.KeyVault/") + "`"
		}
		fmt.Fprintf(&table, "| %s | `%s` | %s | %s |\n", r.Name, r.ID, where, strings.Join(actions, " "))
	}
	want := before + begin + table.String() + end + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(b) {
		t.Errorf("%s does not have the roles of the code: go test ./internal/api -run TestRolesDocument -update", file)
	}
}
