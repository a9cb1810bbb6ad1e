package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What a workload's image takes in is a promise too.
func TestBinary(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	const limit = 60e6
	out := filepath.Join(t.TempDir(), "openskr-workload")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	fi, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() > limit {
		t.Errorf("%d bytes, limit %.0f", fi.Size(), limit)
	}
}
