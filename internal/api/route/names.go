package route

import (
	"strings"

	"github.com/openskr/openskr/release"
)

// FoldMember gives the spelling under which names of members that differ in ASCII case
// compare equal. Wider folds meet names that are not ours (U+017F, U+212A).
func FoldMember(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// Ignore says whether a member of no meaning may be ignored, as Azure does it. It may not
// when its name is outside ASCII, where parsers fold differently, or a near-miss of one of
// guarded, whose sender would believe that it counts.
func Ignore(name string, guarded ...string) error {
	for _, b := range []byte(name) {
		if b >= 0x80 {
			return release.Refuse(release.ReasonUnknownMember, "member %.64q is not ASCII", name)
		}
	}
	low := bare(FoldMember(name))
	for _, g := range guarded {
		if near(low, bare(FoldMember(g))) {
			return release.Refuse(release.ReasonUnknownMember, "member %.64q: did you mean %q?", name, g)
		}
	}
	return nil
}

// bare leaves out what separates words in one style and not in another.
func bare(s string) string { return strings.NewReplacer("_", "", "-", "", " ", "", ".", "").Replace(s) }

// near tells whether a and b are at most one edit (insertion, deletion,
// replacement, swap of neighbours) apart.
func near(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) != len(b) {
		return a[i:] == b[i+1:]
	}
	if i == len(a) || a[i+1:] == b[i+1:] {
		return true
	}
	return i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}
