package agent

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// TestNames holds the names against the patterns that they are.
func TestNames(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		is      func(string) bool
		chars   string
		max     int
	}{
		{`^[0-9a-zA-Z-]{1,127}$`, isKeyName, "aZ9-_.\n", 4},
		{`^[0-9a-f]{32}$`, isVersion, "0", 40},
		{`^[a-z][0-9a-z-]{1,22}[0-9a-z]$`, isVaultName, "a-0Z", 5},
		{`^[a-z][0-9a-z-]{1,22}[0-9a-z]$`, isVaultName, "a", 30},
		{`^(\[[0-9a-f:]+\]|[0-9a-z][0-9a-z.-]*)(:[0-9]{1,5})?$`, isVaultHost, "[]:a1.-", 9},
		{`^(\[[0-9a-f:]+\]|[0-9a-z][0-9a-z.-]*)(:[0-9]{1,5})?$`, isVaultHost, "a:12345678", 9},
	} {
		want := regexp.MustCompile(tt.pattern)
		for range 20000 {
			b := make([]byte, rand.IntN(tt.max+1))
			for i := range b {
				b[i] = tt.chars[rand.IntN(len(tt.chars))]
			}
			if s := string(b); tt.is(s) != want.MatchString(s) {
				t.Fatalf("%q: %v, %s says %v", s, tt.is(s), tt.pattern, want.MatchString(s))
			}
		}
	}
	for s, want := range map[string]bool{strings.Repeat("a", 127): true, strings.Repeat("a", 128): false} {
		if isKeyName(s) != want {
			t.Errorf("a name of %d: %v", len(s), !want)
		}
	}
}
