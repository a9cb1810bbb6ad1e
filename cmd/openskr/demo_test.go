package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/swtpm"
)

// TestDemo runs the main job whole, with real programs and a software TPM, and on each
// kind of simulated hardware, and looks for the outcome that each step is there to show.
func TestDemo(t *testing.T) {
	self, err := exec.LookPath("openskr") // TestMain put this test binary there
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Dir(self), "../openskr-agent", "../openskr-workload")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Run("tpm", func(t *testing.T) {
		t.Parallel()
		watchDemo(t, self, swtpm.Available(), nil, []string{
			"replayed into a software TPM", "Deployment skr-", "is pending", "is approved", "opens with key https://",
			"combination is 18-33-7", "plain text, format cse", "verified: entry", "policy_denied", `input.claims.tpm.pcrs.sha256["9"] ==`, "the log does not verify",
		})
	})
	for tee, why := range map[string]string{
		"snp":   `data.references.demo["snp-measurement"]`,
		"tdx":   "data.references.demo.mrtd",
		"azure": `data.references.demo["snp-measurement"]`,
		"nitro": `data.references.demo["nitro-pcr0"]`,
	} {
		t.Run(tee, func(t *testing.T) {
			if testing.Short() {
				t.Skip("the steps of the TPM's demo, on other hardware")
			}
			t.Parallel()
			var needs error
			if tee == "azure" {
				needs = swtpm.Available()
			}
			watchDemo(t, self, needs, []string{"--tee", tee}, []string{
				"A SIMULATION, for ever", "simulated-" + tee, "known-good", "opens with key https://", "combination is 18-33-7",
				"plain text, format cse", "simulation     true", "policy_denied", why, "the log does not verify",
			})
		})
	}
}

// watchDemo runs a demo and wants these texts in its steps.
func watchDemo(t *testing.T, self string, needs error, args, want []string) {
	t.Helper()
	if needs != nil {
		t.Skip(needs)
	}
	temp := shortTemp(t)
	cmd := exec.CommandContext(t.Context(), self, append([]string{"demo", "--json"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
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
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
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
