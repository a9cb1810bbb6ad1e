package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/internal/simulate/simulatetest"
)

// Simulated hardware is believed offline by who has its seed, and by nobody else.
func TestEvidenceSimulated(t *testing.T) {
	dir := t.TempDir()
	seeds := map[string][simulate.SeedSize]byte{}
	for _, name := range []string{"own", "other"} {
		if err := simulate.NewSeed(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		var err error
		if seeds[name], err = simulate.ReadSeed(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for kind, typ := range map[string]attest.Type{"snp": attest.TypeSNP, "tdx": attest.TypeTDX, "nitro": attest.TypeNitro} {
		file, bare := filepath.Join(dir, kind), filepath.Join(dir, kind+"-real")
		for path, o := range map[string]simulate.Options{file: {}, file + "-debug": {Debug: true}} {
			ev, err := agent.Evidence(t.Context(), agent.Hardware{Platform: typ.Simulated(), Simulator: simulatetest.Play(t, kind, seeds["own"], o)}, []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			relabelled := strings.Replace(string(ev), string(typ.Simulated()), string(typ), 1)
			if err := errors.Join(os.WriteFile(path, ev, 0o600), os.WriteFile(bare, []byte(relabelled), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		own, other := filepath.Join(dir, "own"), filepath.Join(dir, "other")
		for name, c := range map[string]struct {
			args  []string
			code  int
			check attest.Check
			says  string
		}{
			"its seed":         {[]string{file, "--simulation", own}, codeDone, "", ""},
			"another seed":     {[]string{file, "--simulation", other}, codeRefused, attest.CheckChainUntrusted, ""},
			"debug":            {[]string{file + "-debug", "--simulation", own}, codeRefused, attest.CheckDebug, ""},
			"no seed":          {[]string{file}, codeUsage, "", "--simulation FILE"},
			"no seed file":     {[]string{file, "--simulation", own + "x"}, codeUsage, "", "no such file"},
			"relabelled":       {[]string{bare, "--simulation", own}, codeUsage, "", "simulated hardware"},
			"relabelled alone": {[]string{bare}, codeRefused, attest.CheckChainUntrusted, ""},
		} {
			code, stdout, stderr := call(t, append([]string{"evidence", "verify", "--json", "--evidence"}, c.args...)...)
			if code != c.code || !strings.Contains(stderr, c.says) {
				t.Errorf("%s, %s: exit %d, %s%s", kind, name, code, stdout, stderr)
				continue
			}
			if c.code == codeUsage {
				continue
			}
			var v verification
			if err := json.Unmarshal([]byte(stdout), &v); err != nil || v.Check != c.check || v.Verified != (c.check == "") {
				t.Errorf("%s, %s: %v, %s", kind, name, err, stdout)
			}
		}
	}
}
