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

// Outcomes of a test.
const (
	OutcomePass  = "pass"
	OutcomeFail  = "fail"  // false or undefined
	OutcomeError = "error" // the evaluation stopped: failing built-in, budget, conflict
	OutcomeSkip  = "skip"  // named todo_test_…
)

// TestReport is the result of a test run, sorted by file and row.
type TestReport struct {
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"` // errors and warnings of policies and test files
	Tests       []TestResult `json:"tests"`
	Coverage    []Coverage   `json:"coverage"`
}

// TestResult is one test rule.
type TestResult struct {
	File    string `json:"file"`
	Name    string `json:"name"`
	Row     int    `json:"row"`
	Outcome string `json:"outcome"`
	Message string `json:"message,omitempty"` // what did not hold
	Steps   int64  `json:"steps"`
}

// Coverage is the share of a policy's conditions and rules that the tests reached.
type Coverage struct {
	File       string  `json:"file"`
	Percent    float64 `json:"percent"`
	NotCovered []int   `json:"not_covered,omitempty"` // rows
}

// OK says whether everything compiled and there are tests and none failed.
func (r *TestReport) OK() bool {
	passed := false
	for _, t := range r.Tests {
		if t.Outcome == OutcomeFail || t.Outcome == OutcomeError {
			return false
		}
		passed = passed || t.Outcome == OutcomePass
	}
	return passed && verdict(r.Diagnostics) == nil
}

// Test runs tests of policies with the engine of Evaluate, budget included. The
// tests of X.rego are the rules test_… of X_test.rego, package release_test; when
// there is one policy, all test files are its own. It runs in a compiler process,
// since files are compiled without having passed Check. An error means that there
// is no report, never that a test failed.
func Test(ctx context.Context, files map[string][]byte, o TestOptions) (*TestReport, error) {
	if len(files) == 0 {
		return nil, release.Refuse(release.ReasonBadRequest, "no files to test: name policies and their _test.rego files")
	}
	a, err := runChild(ctx, o.Compiler, task{Claims: o.ClaimsSchema, Files: files, Filter: o.Filter}, testWait)
	if err != nil {
		return nil, err
	}
	if a.Report == nil {
		return nil, release.Refuse(release.ReasonInternal, "policy compiler: no report")
	}
	return a.Report, nil
}
