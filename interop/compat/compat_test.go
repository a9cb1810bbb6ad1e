package compat

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// complete are the notes of a run that bears out the whole table.
func complete() Notes {
	out := Notes{}
	for _, g := range Operations() {
		for _, r := range g.Rows {
			for _, c := range Clients() {
				if want := r.expected(c); want != "" {
					out[Note{c, r.Name, want}] = true
				}
			}
		}
	}
	return out
}

func TestCheck(t *testing.T) {
	if wrong := Check(complete()); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	for name, change := range map[string]func(Notes){
		"a cell that nothing proved":        func(n Notes) { delete(n, Note{Go, "key get", Works}) },
		"a refusal where the table says so": func(n Notes) { n[Note{Go, "key get", Refused}] = true },
		"works where the table says refused": func(n Notes) {
			delete(n, Note{JS, "weak algorithms", Refused})
			n[Note{JS, "weak algorithms", Works}] = true
		},
		"a call that there is none of": func(n Notes) { n[Note{CLI, "key release", Works}] = true },
	} {
		n := maps.Clone(complete())
		change(n)
		if wrong := Check(n); len(wrong) != 1 {
			t.Errorf("%s: %q", name, wrong)
		}
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes")
	want := Note{Python, "secret set", Works}
	for range 2 {
		if err := Append(path, want); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Read(path); err != nil || len(got) != 1 || !got[want] {
		t.Errorf("%v, %v", got, err)
	}
	for _, line := range []string{"Go\tkey got\tworks", "Rust\tkey get\tworks", "Go\tkey get\tfine", "Go\tkey get", "Go\tkey get\tworks\tvery"} {
		if err := os.WriteFile(path, []byte(line+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(path); err == nil {
			t.Errorf("%q read as %v", line, got)
		}
	}
}

// Every deviation says why, and every row has something to try.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range Operations() {
		for _, r := range g.Rows {
			tried := 0
			for _, c := range Clients() {
				if r.expected(c) != "" {
					tried++
				}
			}
			if tried == 0 || seen[r.Name] {
				t.Errorf("%s: tried by %d clients, seen before: %v", r.Name, tried, seen[r.Name])
			}
			seen[r.Name] = true
			for c, cell := range r.Cells {
				if (cell.Outcome == "") != (cell.Why == "") || cell.Outcome == Works {
					t.Errorf("%s, %s: %+v", r.Name, c, cell)
				}
			}
		}
	}
	if page := Page([]Version{{Go, "1", "how"}}); strings.Count(page, "\n| ") < len(seen) || !strings.Contains(page, "refused (1)") {
		t.Error(page)
	}
}
