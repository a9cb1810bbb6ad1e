package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPlatformsInEitherCase: who denies an Azure machine pastes what the portal shows,
// in lower case, and the paravisor says it in upper case.
func TestPlatformsInEitherCase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deny")
	text := "c46cbfae-5c3a-4d6c-8b2a-0d1f2e3a4b5c # portal\nABCDEF01\ni-0123-enc4\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := platformList(path)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{
		"C46CBFAE-5C3A-4D6C-8B2A-0D1F2E3A4B5C": true, "abcdef01": true, "i-0123-enc4": true, "abcdef02": false, "": false,
	} {
		if list.has(id) != want {
			t.Errorf("%q denied: %v", id, !want)
		}
	}
}
