package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDemo runs the main job whole, with real programs and a software TPM, and
// looks at what each step must have shown.
func TestDemo(t *testing.T) {
	self, err := exec.LookPath("openskr") // TestMain put this test binary there
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(filepath.Dir(self), "openskr-agent"), "../openskr-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), self, "demo", "--json")
	cmd.Env = append(os.Environ(), "TMPDIR="+shortTemp(t))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	want := []string{
		"replayed into a software TPM", "Deployment skr-", "is pending", "is approved", "opens with key https://",
		"combination is 18-33-7", "verified: entry", "policy_denied", `input.claims.tpm.pcrs.sha256["9"] ==`, "the log does not verify",
	}
	dec := json.NewDecoder(&stdout)
	for i, text := range want {
		var r demoResult
		if err := dec.Decode(&r); err != nil {
			t.Fatalf("step %d: %v", i+1, err)
		}
		if !r.OK || r.Step != i+1 || !strings.Contains(r.Output, text) {
			t.Errorf("step %d: %+v: want %q in its output", i+1, r, text)
		}
	}
	if dec.More() {
		t.Error("more steps than this test knows")
	}
}

// shortTemp is a folder whose path leaves room for a socket's name.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
