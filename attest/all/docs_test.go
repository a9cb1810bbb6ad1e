package all_test

import (
	"os"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest/all"
)

// TestEveryClaimIsDocumented: docs/claims.md names each claim that a policy may.
func TestEveryClaimIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/claims.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths("", all.Schema()) {
		if !named(string(text), path) {
			t.Errorf("docs/claims.md does not name %s", path)
		}
	}
}

// paths lists the claims of a schema that are no objects.
func paths(prefix string, schema map[string]any) []string {
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		return []string{prefix}
	}
	var out []string
	for name, p := range properties {
		if strings.Trim(name, "0123456789") == "" { // indices, of PCRs
			return []string{prefix}
		}
		out = append(out, paths(strings.TrimPrefix(prefix+"."+name, "."), p.(map[string]any))...)
	}
	return out
}

// named looks for the path, or for what tables write of it: its last name alone,
// behind what a family of names shares.
func named(text, path string) bool {
	if i := len(path) - 1; path[i] >= '1' && path[i] <= '9' && path[i-1] == 'r' { // `tdx_rtmr0` … `tdx_rtmr3`
		return named(text, path[:i]+"0")
	}
	parts := strings.Split(path, ".")
	last := parts[len(parts)-1]
	if n := len(parts); n > 1 && strings.Contains(text, "`"+parts[n-2]+"."+last+"`") {
		return true
	}
	if strings.Contains(text, "`"+path+"`") || strings.Contains(text, "`"+last+"`") || strings.Contains(text, "`."+last+"`") {
		return true
	}
	for i, c := range last {
		if c == '-' && strings.Contains(text, "`"+last[i:]+"`") {
			return true
		}
	}
	return strings.Contains(text, "`…"+last+"`")
}
