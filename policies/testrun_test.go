package policies

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"

	"github.com/openskr/openskr/release"
)

const testedPolicy = preamble + `allow if {
	input.claims.level >= 3
	not revoked
}

revoked if input.claims.name in data.references.web.revoked

deny contains "never" if input.claims.level == 77
`

const testSuiteText = `package release_test

import data.release

test_allow if release.allow with input as {"claims": {"level": 3, "name": "al"}} with data.references.web.revoked as ["bob"]

test_low if not release.allow with input as {"claims": {"level": 2}}

test_wrong if {
	release.allow with input as {"claims": {"level": 1}}
}

test_error if to_number("x") == 1

test_endless if { some a in list; some b in list; some c in list; concat(a, [b, c]) == "" }

list := split("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z,a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v", ",")

todo_test_later if false
`

func testReport(t *testing.T, files map[string]string, filter string) *TestReport {
	t.Helper()
	in := map[string][]byte{}
	for name, text := range files {
		in[name] = []byte(text)
	}
	r, err := Test(t.Context(), in, TestOptions{Compiler: argv(), ClaimsSchema: claimsSchema(), Filter: filter})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReportOfTests(t *testing.T) {
	r := testReport(t, map[string]string{"p.rego": testedPolicy, "p_test.rego": testSuiteText}, "")
	if r.OK() {
		t.Error("failures are OK")
	}
	got := map[string]TestResult{}
	for _, x := range r.Tests {
		got[x.Name] = x
	}
	for name, want := range map[string]struct{ outcome, text string }{
		"test_allow": {OutcomePass, ""}, "test_low": {OutcomePass, ""}, "todo_test_later": {OutcomeSkip, ""},
		"test_wrong":   {OutcomeFail, "p.rego:6: input.claims.level >= 3\n    input.claims.level = 1"},
		"test_error":   {OutcomeError, "to_number"},
		"test_endless": {OutcomeError, "more than 50000 steps"},
	} {
		if x := got[name]; x.Outcome != want.outcome || !strings.Contains(x.Message, want.text) || x.Row == 0 || x.File != "p_test.rego" {
			t.Errorf("%s: %+v", name, x)
		}
	}
	if len(r.Tests) != 6 || len(r.Coverage) != 1 || fmt.Sprint(r.Coverage[0].NotCovered) != "[10 12]" {
		t.Errorf("%+v", r.Coverage)
	}
	var text, js, junit bytes.Buffer
	for name, err := range map[string]error{"text": r.WriteText(&text), "JSON": r.WriteJSON(&js), "JUnit": r.WriteJUnit(&junit)} {
		if err != nil {
			t.Error(name, err)
		}
	}
	if !strings.HasSuffix(text.String(), "2 passed, 1 failed, 2 errors, 1 skipped\n") {
		t.Error(text.String())
	}
	var back TestReport
	if err := json.Unmarshal(js.Bytes(), &back); err != nil || len(back.Tests) != 6 {
		t.Error(err)
	}
	var suite junitSuite
	if err := xml.Unmarshal(junit.Bytes(), &suite); err != nil || suite.Tests != 6 || suite.Failures != 1 || suite.Errors != 2 || suite.Skipped != 1 {
		t.Errorf("%+v %v", suite, err)
	}
}

func TestFilter(t *testing.T) {
	r := testReport(t, map[string]string{"p.rego": testedPolicy, "p_test.rego": testSuiteText}, "allow")
	if len(r.Tests) != 1 || !r.OK() {
		t.Errorf("%+v", r)
	}
	if r := testReport(t, map[string]string{"p.rego": testedPolicy, "p_test.rego": testSuiteText}, "nothing"); r.OK() {
		t.Error("no test is OK")
	}
}

func TestFilesThatDoNotCompile(t *testing.T) {
	sequential(t)
	for _, tt := range []struct {
		name  string
		files map[string]string
		file  string
		code  string
	}{
		{"policy", map[string]string{"p.rego": preamble + "allow if http.send({})", "p_test.rego": testSuiteText}, "p.rego", "policy_builtin"},
		{"tests", map[string]string{"p.rego": testedPolicy, "p_test.rego": "package release_test\ntest_x if {"}, "p_test.rego", "rego_parse_error"},
		{"tests use the network", map[string]string{"p.rego": testedPolicy, "p_test.rego": "package release_test\ntest_x if http.send({})"}, "p_test.rego", "rego_type_error"},
		{"package of tests", map[string]string{"p.rego": testedPolicy, "p_test.rego": "package release\ntest_x if true"}, "p_test.rego", "test_package"},
		{"misspelt claim", map[string]string{"p.rego": preamble + "allow if input.claims.levl", "p_test.rego": "package release_test\ntest_x if true"}, "p.rego", "rego_type_error"},
		{"whose tests", map[string]string{"p.rego": testedPolicy, "q.rego": testedPolicy, "r_test.rego": testSuiteText}, "r_test.rego", "test_file"},
		{"a set of tests", map[string]string{"p.rego": testedPolicy, "p_test.rego": "package release_test\ntest_x contains 1 if false"}, "p_test.rego", "test_rule"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := testReport(t, tt.files, "")
			found := false
			for _, d := range r.Diagnostics {
				found = found || d.File == tt.file && d.Code == tt.code && d.Severity == SeverityError
			}
			if !found || r.OK() {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestTestsThatKillTheCompiler(t *testing.T) {
	if _, err := Test(t.Context(), nil, TestOptions{Compiler: argv()}); release.ReasonOf(err) != release.ReasonBadRequest {
		t.Error(err)
	}
	if _, err := Test(t.Context(), map[string][]byte{"a.rego": nil}, TestOptions{}); release.ReasonOf(err) != release.ReasonInternal {
		t.Error(err)
	}
}
