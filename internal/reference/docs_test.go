package reference

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestDocumentedKinds: the table of docs/references.md is the list of the code.
func TestDocumentedKinds(t *testing.T) {
	b, err := os.ReadFile("../../docs/references.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "\n## Kinds\n")
	table, _, _ = strings.Cut(table, "\n## ")
	span := regexp.MustCompile("`([a-z-]+)0` … `([a-z-]+)([0-9]+)`")
	name := regexp.MustCompile("`([a-z_-]+)`")
	var got []string
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.Contains(cells[1], "`") {
			continue
		}
		for _, m := range span.FindAllStringSubmatch(cells[1], -1) {
			last, _ := strconv.Atoi(m[3])
			for i := range last + 1 {
				got = append(got, m[1]+strconv.Itoa(i))
			}
		}
		for _, m := range name.FindAllStringSubmatch(span.ReplaceAllString(cells[1], ""), -1) {
			got = append(got, m[1])
		}
		for _, k := range got[len(got)-1:] {
			if k == kindCommandLine {
				continue
			}
			if want := strings.ReplaceAll(sizeText(sizes(k)), " or ", ", "); want != strings.TrimSpace(cells[2]) {
				t.Errorf("%s: %s bytes documented, %s in the code", k, cells[2], want)
			}
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, Kinds()) {
		t.Errorf("documented %v, in the code %v", got, Kinds())
	}
}
