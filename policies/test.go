package policies

import (
	"context"

	"github.com/openskr/openskr/release"
)

// TestOptions steers Test.
type TestOptions struct {
	Compiler     []string       // as Config.Compiler; required
	ClaimsSchema map[string]any // as Config.ClaimsSchema
	Filter       string         // only tests whose name contains it
}

// TestReport is the result of a test run.
type TestReport struct {
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"` // files that do not compile
	Tests       []TestResult `json:"tests"`
	Coverage    []Coverage   `json:"coverage"`
}

// TestResult is one test rule.
type TestResult struct {
	File    string `json:"file"`
	Name    string `json:"name"`
	Outcome string `json:"outcome"` // pass, fail, error, skip
	Row     int    `json:"row"`
	Col     int    `json:"col"`
	Message string `json:"message,omitempty"`
	Steps   int64  `json:"steps"`
}

// Coverage says which lines of a policy no test reached.
type Coverage struct {
	File       string  `json:"file"`
	Percent    float64 `json:"percent"`
	NotCovered []int   `json:"not_covered,omitempty"` // rows
}

// OK says whether everything compiled and every test passed.
func (r *TestReport) OK() bool {
	for _, t := range r.Tests {
		if t.Outcome == "fail" || t.Outcome == "error" {
			return false
		}
	}
	return verdict(r.Diagnostics) == nil
}

// Test runs the tests of policies, in a compiler process: X_test.rego against X.rego.
func Test(ctx context.Context, files map[string][]byte, o TestOptions) (*TestReport, error) {
	a, err := runChild(ctx, o.Compiler, task{Claims: o.ClaimsSchema, Files: files, Filter: o.Filter}, testWait)
	if err != nil {
		return nil, err
	}
	if a.Report == nil {
		return nil, release.Refuse(release.ReasonInternal, "policy compiler: no report")
	}
	return a.Report, nil
}

func runTests(task) answer { return answer{Report: &TestReport{}} }
