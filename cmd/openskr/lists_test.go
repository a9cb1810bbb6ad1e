package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHalfWrittenLists: a reload may find a file that an editor is writing.
func TestHalfWrittenLists(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deny")
	hash := strings.Repeat("ab", 32)
	for text, ok := range map[string]bool{
		hash + "\n":           true,
		"# none\n":            true,
		"":                    false,
		hash:                  false,
		hash + "\n" + hash:    false,
		hash[:60] + "\n":      false,
		"# a\n" + hash + "\n": true,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := hashList(path); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestReferencesAreStrict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "references.json")
	for text, ok := range map[string]bool{
		`{"web":{"pcr4":{"00":{"label":"a"}}}}`:                    true,
		`{"web":{"pcr4":{"00":{"label":"a"}}},"web":{}}`:           false,
		`{"web":{"pcr4":{"00":{"label":"a"},"00":{"label":"b"}}}}`: false,
		`{"web":`: false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := (&broker{}).loadSettings(&Config{References: path}); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}
