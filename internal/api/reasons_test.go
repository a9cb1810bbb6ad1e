package api

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/openskr/openskr/release"
)

// TestReasonsDocument: docs/reasons.md has a heading for every code, with its
// status, and none for a code that does not exist.
func TestReasonsDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	reasons := release.Reasons()
	for _, m := range regexp.MustCompile(`(?m)^### (\S+)\n(\d{3})\. `).FindAllSubmatch(b, -1) {
		r := release.Reason(m[1])
		class, ok := reasons[r]
		if !ok {
			t.Errorf("%s is documented and does not exist, or twice", r)
			continue
		}
		if strconv.Itoa(int(class)) != string(m[2]) {
			t.Errorf("%s: documented as %s, is %d", r, m[2], class)
		}
		delete(reasons, r)
	}
	for r := range reasons {
		t.Errorf("%s has no heading in docs/reasons.md", r)
	}
	if n := len(regexp.MustCompile(`(?m)^### `).FindAll(b, -1)); n != len(release.Reasons()) {
		t.Errorf("%d headings for %d reasons", n, len(release.Reasons()))
	}
}

// Every class of the list has a status, a Key Vault word and a text for strangers.
func TestClasses(t *testing.T) {
	for r, class := range release.Reasons() {
		if codes[class] == "" || messages[class] == "" {
			t.Errorf("%s: class %d has no code or no text", r, class)
		}
	}
}
