package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"

	"github.com/openskr/openskr/release"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(t), path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEveryDependencyIsArgued(t *testing.T) {
	f, err := modfile.Parse("go.mod", []byte(read(t, "go.mod")), nil)
	if err != nil {
		t.Fatal(err)
	}
	const doc = "docs/adr/0004-dependencies.md"
	text, direct := read(t, doc), map[string]bool{}
	for _, r := range f.Require {
		if r.Indirect {
			continue
		}
		direct[r.Mod.Path] = true
		if !strings.Contains(text, "\n| `"+r.Mod.Path+"` |") {
			t.Errorf("%s: no row for %s: say why, what it costs and how to leave it", doc, r.Mod.Path)
		}
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(text, -1) {
		if !direct[row[1]] {
			t.Errorf("%s: row for %s, which go.mod does not require", doc, row[1])
		}
	}
}

func TestEveryReasonIsExplained(t *testing.T) {
	const doc = "docs/reasons.md"
	text := read(t, doc)
	for r := range release.Reasons() {
		if !regexp.MustCompile("(?m)^#+ `?" + regexp.QuoteMeta(string(r)) + "`?$").MatchString(text) {
			t.Errorf("%s: no heading for %s", doc, r)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	dir := root(t)
	pages, err := filepath.Glob(filepath.Join(dir, "docs/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(dir, "docs/*/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	top, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(append(pages, more...), top...) {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", page, m[1])
			}
		}
	}
}
