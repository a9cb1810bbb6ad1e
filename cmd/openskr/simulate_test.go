package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/internal/simulate"
)

func TestSimulateUsage(t *testing.T) {
	dir := t.TempDir()
	seed, open := filepath.Join(dir, "seed"), filepath.Join(dir, "open")
	if err := simulate.NewSeed(seed); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, []byte(strings.Repeat("ab", 32)), 0o644); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	for name, args := range map[string][]string{
		"no kind":             {"--seed", seed, "--socket", socket},
		"other kind":          {"psp", "--seed", seed, "--socket", socket},
		"no seed":             {"snp", "--socket", socket},
		"no socket":           {"snp", "--seed", seed},
		"absent seed":         {"snp", "--seed", seed + "x", "--socket", socket},
		"seed of everybody":   {"snp", "--seed", open, "--socket", socket},
		"measurement no hex":  {"snp", "--seed", seed, "--socket", socket, "--measurement", "zz"},
		"measurement short":   {"tdx", "--seed", seed, "--socket", socket, "--measurement", "aabb"},
		"azure without a TPM": {"azure", "--seed", seed, "--socket", socket},
	} {
		if code, stdout, stderr := call(t, append([]string{"simulate"}, args...)...); code != codeUsage || stdout != "" || stderr == "" {
			t.Errorf("%s: exit %d, %q, %q", name, code, stdout, stderr)
		}
	}
	if _, err := os.Lstat(socket); err == nil {
		t.Error("a socket was made")
	}
}

// It says that it is ready, answers an agent, and ends when it is told to.
func TestSimulate(t *testing.T) {
	dir, err := os.MkdirTemp("", "sim")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	seed, socket := filepath.Join(dir, simulate.SeedFile), filepath.Join(dir, "s")
	if err := simulate.NewSeed(seed); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"simulate", "tdx", "--json", "--seed", seed, "--socket", socket}, strings.NewReader(""), in, io.Discard)
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != `{"socket":"`+socket+`","type":"simulated-tdx"}`+"\n" {
		t.Fatalf("%q, %v", line, err)
	}
	ev, err := agent.Evidence(t.Context(), agent.Hardware{Platform: attest.TypeTDX.Simulated(), Simulator: socket}, []byte("x"))
	if err != nil || !strings.Contains(string(ev), `"quote":"BAACAIE`) {
		t.Errorf("%.80s, %v", ev, err)
	}
	cancel()
	if code := <-done; code != codeDone {
		t.Errorf("exit %d", code)
	}
}
