package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-sev-guest/verify/testdata"
)

// TestEvidenceFlags: what was given and would not be looked at is refused, so that
// nobody takes a verification for stricter than it was.
func TestEvidenceFlags(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	report, vcek := file("report", testdata.AttestationBytes), file("vcek", testdata.VcekBytes)
	body := file("evidence.json", []byte(`{"type":"nitro","document":"AA"}`))
	for args, want := range map[string]string{
		"--type snp --report R --endorsement E --nonce=":               "--nonce is empty",
		"--type snp --report R --endorsement E --runtime-data=":        "--runtime-data is empty",
		"--type snp --report R --endorsement E --ak-roots E":           "--ak-roots is not part of",
		"--type gce --attestation R --ak-roots E":                      "--ak-roots is not part of",
		"--type token --token B --jwks E --root E":                     "--root says nothing",
		"--type nitro --document R --collateral E":                     "--collateral says nothing",
		"--evidence B --root E --collateral E":                         "--collateral says nothing",
		"--evidence B --jwks E":                                        "--jwks says nothing",
		"--evidence B --type nitro --document R":                       "--evidence holds everything",
		"--evidence B --ccel R":                                        "--evidence holds everything",
		"--type snp --report R --endorsement E --collateral " + report: "--collateral: ",
	} {
		line := strings.NewReplacer(" R", " "+report, " E", " "+vcek, " B", " "+body).Replace(args)
		code, _, stderr := call(t, append([]string{"evidence", "verify"}, strings.Fields(line)...)...)
		if code != codeUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit %d, %s", args, code, stderr)
		}
	}
}
