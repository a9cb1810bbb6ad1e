package policies

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestLibrary runs the tests of the ready policies; those of snp-measurement are TP-07, TP-08
// and TP-14.
func TestLibrary(t *testing.T) {
	sequential(t)
	e := engine(t)
	manual, err := os.ReadFile("../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, r := range Library() {
		if !strings.Contains(string(manual), "| `"+r.Name+"` | "+r.Threat+" |") {
			t.Errorf("docs/policies.md does not list %s", r.Name)
		}
		files[r.Name+".rego"], files[r.Name+testSuffix] = r.Source, r.Tests
		warnings, err := e.Inspect(t.Context(), policy(string(r.Source)))
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v %v", r.Name, warnings, err)
		}
		if r.Title == "" || !strings.HasSuffix(r.Threat, ".") {
			t.Errorf("%s: title %q, threat %q", r.Name, r.Title, r.Threat)
		}
		if !strings.Contains(string(r.Source), "input.claims.tpm.pcrs") {
			continue // not about a TPM's boot
		}
		for _, pcr := range []string{`"4"`, `"7"`, `"9"`, `"11"`, `"12"`} { // EV-20
			if !strings.Contains(string(r.Source), pcr) {
				t.Errorf("%s does not cover PCR %s", r.Name, pcr)
			}
		}
	}
	if names := slices.Sorted(maps.Keys(files)); len(names) != 26 {
		t.Fatalf("library: %v", names)
	}
	report, err := Test(t.Context(), files, TestOptions{Compiler: argv(), ClaimsSchema: claimsSchema()})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		var b strings.Builder
		_ = report.WriteText(&b)
		t.Fatal(b.String())
	}
	for _, c := range report.Coverage {
		if c.Percent < 100 {
			t.Errorf("%s: %.1f%% covered, not line %v", c.File, c.Percent, c.NotCovered)
		}
	}
}

// Every condition of every ready policy is there for a reason: without it, one of
// its tests fails.
func TestLibraryConditionsAreTested(t *testing.T) {
	sequential(t)
	_ = engine(t)
	for _, r := range Library() {
		lines := strings.SplitAfter(string(r.Source), "\n")
		for i, line := range lines {
			if !strings.HasPrefix(line, "\t") || strings.HasSuffix(line, "{\n") || strings.TrimSpace(line) == "}" {
				continue
			}
			mutant := strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "")
			a := runTests(task{Claims: claimsSchema(), Files: map[string][]byte{"p.rego": []byte(mutant), "p_test.rego": r.Tests}})
			if a.Report.OK() {
				t.Errorf("%s: no test fails without line %d: %s", r.Name, i+1, line)
			}
		}
	}
}
