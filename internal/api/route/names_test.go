package route

import (
	"testing"

	"github.com/openskr/openskr/release"
)

func TestNear(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"", "", true},
		{"a", "", true},
		{"abc", "abc", true},
		{"abc", "abd", true},
		{"abc", "ab", true},
		{"abc", "xabc", true},
		{"abc", "acb", true},
		{"abcd", "abdc", true},
		{"abc", "cba", false},
		{"abc", "abcde", false},
		{"abc", "xyz", false},
		{"abcd", "badc", false},
		{"ab", "ba", true},
	} {
		if near(c.a, c.b) != c.want || near(c.b, c.a) != c.want {
			t.Errorf("%q, %q: want %v", c.a, c.b, c.want)
		}
	}
}

func TestIgnore(t *testing.T) {
	for name, ok := range map[string]bool{
		"": true, "policyVersion": true, "x-nonce-of-mine": true,
		"nonces": false, "NONEC": false, "runtime_data": false, "RuntimeDat": false, "\u212aey": false, "no\u0144ce": false,
	} {
		err := Ignore(name, "nonce", "runtimeData")
		if (err == nil) != ok || err != nil && release.ReasonOf(err) != release.ReasonUnknownMember {
			t.Errorf("%q: %v", name, err)
		}
	}
}
