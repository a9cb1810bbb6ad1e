package policies

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"
)

const testSuffix = "_test.rego"

// runTests is the child's half of Test.
func runTests(t task) answer {
	r := &TestReport{}
	pairs, found := pair(t.Files)
	r.Diagnostics = found
	for _, file := range slices.Sorted(maps.Keys(pairs)) {
		s := &suite{file: file, filter: t.Filter, report: r, done: map[string]bool{}}
		s.run(t, pairs[file])
	}
	slices.SortStableFunc(r.Tests, func(a, b TestResult) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row)) })
	r.Diagnostics = tidy(r.Diagnostics)
	return answer{Report: r}
}

// pair gives each policy its test files.
func pair(files map[string][]byte) (pairs map[string][]string, found []Diagnostic) {
	pairs = map[string][]string{}
	for name := range files {
		if !strings.HasSuffix(name, testSuffix) {
			pairs[name] = nil
		}
	}
	only := ""
	for name := range pairs {
		only = name
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		base, isTest := strings.CutSuffix(name, testSuffix)
		_, ok := pairs[base+".rego"]
		switch {
		case !isTest:
		case ok:
			pairs[base+".rego"] = append(pairs[base+".rego"], name)
		case len(pairs) == 1:
			pairs[only] = append(pairs[only], name)
		default:
			found = append(found, Diagnostic{File: name, Code: "test_file", Message: "there is no " + base + ".rego that these tests are for"})
		}
	}
	return pairs, found
}

// suite is one policy and its tests.
type suite struct {
	file, filter string
	report       *TestReport
	sources      []*ast.Module
	compiler     *ast.Compiler
	cover        *cover.Cover
	done         map[string]bool
}

func (s *suite) run(t task, tests []string) {
	modules := map[string]*ast.Module{}
	for _, name := range append([]string{s.file}, tests...) {
		m, found := readFile(name, t.Files[name], name == s.file)
		s.blame(name, found)
		if m == nil {
			return
		}
		modules[name] = m
		s.sources = append(s.sources, m)
	}
	s.compiler, s.cover = newCompiler(t.Claims), cover.New()
	if s.compiler.Compile(modules); s.compiler.Failed() {
		for _, e := range s.compiler.Errors {
			file := s.file
			if e.Location != nil {
				file = e.Location.File
			}
			s.blame(file, diagnose(ast.Errors{e}))
		}
		return
	}
	for _, name := range tests {
		for _, r := range modules[name].Rules {
			s.rule(r)
		}
	}
	f := s.cover.Report(map[string]*ast.Module{s.file: modules[s.file]}).Files[s.file]
	c := Coverage{File: s.file, Percent: float64(int(f.Coverage*10)) / 10}
	for _, r := range f.NotCovered {
		c.NotCovered = append(c.NotCovered, r.Start.Row)
	}
	slices.Sort(c.NotCovered)
	c.NotCovered = slices.Compact(c.NotCovered)
	s.report.Coverage = append(s.report.Coverage, c)
}

func (s *suite) blame(file string, found []Diagnostic) {
	for _, d := range found {
		d.File = file
		s.report.Diagnostics = append(s.report.Diagnostics, d)
	}
}

// readFile applies the rules of uploads to policies, and to tests all but those
// of the language: they may use `with` and read data.release.
func readFile(name string, src []byte, isPolicy bool) (*ast.Module, []Diagnostic) {
	if found := checkSource(src); len(found) > 0 {
		return nil, found
	}
	m, found := parse(name, src)
	if m == nil {
		return nil, found
	}
	if !isPolicy {
		if !m.Package.Path.Equal(ast.Ref{ast.DefaultRootDocument, ast.StringTerm(packageName + "_test")}) {
			return nil, []Diagnostic{{Row: m.Package.Location.Row, Col: m.Package.Location.Col, Code: "test_package", Message: "the package of tests must be `release_test`"}}
		}
		return m, nil
	}
	if found = checkModule(m); len(found) > 0 {
		return nil, found
	}
	return m, lint(m)
}

func (s *suite) rule(r *ast.Rule) {
	name := r.Head.Ref().String()
	base, todo := strings.CutPrefix(name, "todo_")
	if !strings.HasPrefix(base, "test_") || !strings.Contains(name, s.filter) || s.done[name] {
		return
	}
	s.done[name] = true // a rule can have several bodies
	if r.Head.RuleKind() != ast.SingleValue || len(r.Head.Args) > 0 || r.Default {
		s.blame(r.Location.File, []Diagnostic{{Row: r.Location.Row, Col: r.Location.Col, Code: "test_rule", Message: name + " must be a rule: " + name + " if ..."}})
		return
	}
	result := TestResult{File: r.Location.File, Name: name, Row: r.Location.Row, Outcome: OutcomeSkip}
	if !todo {
		s.evaluate(name, &result)
	}
	s.report.Tests = append(s.report.Tests, result)
}

func (s *suite) evaluate(name string, result *TestResult) {
	l := defaultLimits
	l.wall = testWait // the process has its own
	m := newMeter(context.Background(), l, time.Now)
	tr := newTracer(nil, s.sources...)
	query := ast.NewBody(ast.NewExpr(ast.RefTerm(ast.DefaultRootDocument, ast.StringTerm(packageName+"_test"), ast.StringTerm(name))))
	refs, err := newReferences(map[string]any{})
	var rs topdown.QueryResultSet
	if err == nil {
		rs, err = topdown.NewQuery(query).WithCompiler(s.compiler).WithStore(refs).WithTransaction(transaction{}).
			WithInput(ast.ObjectTerm()).WithCancel(m).WithStrictBuiltinErrors(true).WithMetrics(metrics.NoOp()).
			WithBuiltins(map[string]*topdown.Builtin{boundName: boundBuiltin()}).
			WithIndexing(false).WithEarlyExit(false).WithTime(time.Unix(0, 1)).
			WithQueryTracer(s.cover).WithQueryTracer(tr).Run(context.Background())
	}
	result.Steps, _ = m.used()
	switch {
	case err != nil:
		result.Outcome, result.Message = OutcomeError, classify(m, err).Err.Error()
	case len(rs) == 1:
		result.Outcome = OutcomePass
	default:
		result.Outcome, result.Message = OutcomeFail, why(tr.failures())
	}
}

// why words failures for a test report.
func why(fs []Failure) string {
	var lines []string
	for _, f := range fs {
		line := fmt.Sprintf("%s:%d: %s", f.file, f.Row, f.Text)
		for _, v := range f.Values {
			line += "\n    " + v.String()
		}
		lines = append(lines, line)
	}
	return clean(strings.Join(lines, "\n"), 2*maxMessage)
}
