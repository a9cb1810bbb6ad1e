package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
)

// vectorCase is one thing that is done with a folder of real evidence, by the command
// that a user types. Words of args that end in a file's name of the folder are that
// file.
type vectorCase struct {
	at     string // clock, RFC 3339; "" is the day the vectors were gathered
	args   string
	check  attest.Check   // that refuses; "" verifies
	claims map[string]any // some that must come out, by path with dots
	top    map[string]any // members beside the claims
}

const vectorsDay = "2026-11-21T00:00:00Z"

// TestVectors holds every folder of real evidence against its expected outcome. Where
// OPENSKR_VECTORS is set, each folder of the table must be there.
func TestVectors(t *testing.T) {
	root := os.Getenv("OPENSKR_VECTORS")
	if root == "" {
		t.Skip("OPENSKR_VECTORS is not set")
	}
	table := vectorTable()
	read, passed := 0, 0
	for _, folder := range sortedNames(table) {
		dir := filepath.Join(root, folder)
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("%s is listed and not there: %v", folder, err)
			continue
		}
		read++
		if t.Run(folder, func(t *testing.T) { table[folder](t, dir) }) {
			passed++
		}
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var unknown []string
	for _, e := range entries {
		if _, ok := table[e.Name()]; !ok && e.IsDir() {
			unknown = append(unknown, e.Name())
		}
	}
	t.Logf("vectors: %d folders listed, %d read, %d passed, %d skipped %v", len(table), read, passed, len(unknown), unknown)
}

func sortedNames[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// verify makes a folder's test of cases.
func verify(cases ...vectorCase) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		for _, c := range cases {
			c.run(t, dir)
		}
	}
}

func (c vectorCase) run(t *testing.T, dir string) {
	t.Helper()
	if c.at == "" {
		c.at = vectorsDay
	}
	args := []string{"evidence", "verify", "--json", "--at", c.at}
	for _, w := range strings.Fields(c.args) {
		if path := filepath.Join(dir, w); !strings.HasPrefix(w, "-") {
			if _, err := os.Stat(path); err == nil {
				w = path
			}
		}
		args = append(args, w)
	}
	code, stdout, stderr := call(t, args...)
	want := codeDone
	if c.check != "" {
		want = codeRefused
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(stdout), &out); err != nil || code != want {
		t.Errorf("%s: exit %d, want %d: %v\n%s%s", c.args, code, want, err, stdout, stderr)
		return
	}
	if out["check"] != string(c.check) || out["verified"] != (c.check == "") {
		t.Errorf("%s: verified %v, check %v, want %q: %v", c.args, out["verified"], out["check"], c.check, out["message"])
	}
	claims, _ := out["claims"].(map[string]any)
	compare(t, c.args, claims, c.claims)
	compare(t, c.args, out, c.top)
}

// compare looks values up by path; a text that ends in … is the beginning of one.
func compare(t *testing.T, what string, in, want map[string]any) {
	t.Helper()
	for path, w := range want {
		var v any = in
		for part := range strings.SplitSeq(path, ".") {
			m, _ := v.(map[string]any)
			v = m[part]
		}
		if s, ok := w.(string); ok && strings.HasSuffix(s, "…") {
			if got, ok := v.(string); !ok || !strings.HasPrefix(got, strings.TrimSuffix(s, "…")) {
				t.Errorf("%s: %s is %v, want %s", what, path, v, s)
			}
			continue
		}
		if n, ok := w.(int); ok {
			w = float64(n)
		}
		if !reflect.DeepEqual(v, w) {
			t.Errorf("%s: %s is %v, want %v", what, path, v, w)
		}
	}
}

func rejection(err error) *attest.Rejection {
	r, _ := err.(*attest.Rejection) //nolint:errorlint // a verifier gives it bare
	return r
}

func hexNonce(text string) string { return fmt.Sprintf("--nonce %x", text) }

// TestEvidenceUnreadable: files that are not what their flag says are no evidence.
func TestEvidenceUnreadable(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "text": strings.Repeat("neither this nor that ", 10), "report": strings.Repeat("\x00", 1184)} {
		write(t, filepath.Join(dir, name), []byte(content))
	}
	for _, args := range []string{
		"--type snp --report empty --endorsement text",
		"--type snp --report report --endorsement text",
		"--type snp --report report --endorsement empty",
		"--type tdx --quote report --ccel empty",
		"--type nitro --document missing",
		"--type snp",
	} {
		words := []string{"evidence", "verify"}
		for _, w := range strings.Fields(args) {
			if w == "empty" || w == "text" || w == "report" || w == "missing" {
				w = filepath.Join(dir, w)
			}
			words = append(words, w)
		}
		if code, _, stderr := call(t, words...); code != codeUsage || stderr == "" {
			t.Errorf("%s: exit %d %s", args, code, stderr)
		}
	}
}
