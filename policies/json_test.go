package policies

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/policies/azure"
	"github.com/openskr/openskr/release"
)

const authority = "https://sharedeus.eus.attest.azure.net"

func policyJSON(src string) release.ReleasePolicy {
	return release.ReleasePolicy{ContentType: release.ContentTypeJSON, Data: []byte(src), Digest: sha256.Sum256([]byte(src))}
}

// under wraps conditions into a policy for authority.
func under(conditions string) string {
	return `{"version":"1.0.0","anyOf":[{"authority":"` + authority + `","allOf":[` + conditions + `]}]}`
}

func vouched(claims attest.Claims) *release.Input {
	in := input(nil)
	in.Evidence = release.InputEvidence{Type: "token", Authority: authority, Freshness: "none"}
	in.Claims = claims
	return in
}

// allows evaluates and fails on any error: a policy in JSON never has one.
func allows(t testing.TB, e *Engine, src string, in *release.Input) bool {
	t.Helper()
	d, err := e.Evaluate(t.Context(), policyJSON(src), in)
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	return d.Allow
}

// TestJSONConditions is RP-23.
func TestJSONConditions(t *testing.T) {
	e := engine(t)
	claims := attest.Claims{
		"s": "abc", "b": true, "off": false, "n": int64(3), "zero": int64(0), "big": uint64(18446744073709551615), "neg": int64(-5),
		"one": "1", "padded": "01", "text": "7", "long": strings.Repeat("1", 5000), "list": []any{"abc"}, "obj": map[string]any{"in": "x", "list": []any{"y"}},
		"a.b": "whole", "a": map[string]any{"b": "path", "c": false, "d.e": "no"}, "empty": "",
		`q"uo\te`: "1", "\u202e\U0001f600": "ü\n\"",
	}
	for _, tt := range []struct {
		condition string
		want      bool
	}{
		{`{"claim":"s","equals":"abc"}`, true},
		{`{"claim":"s","equals":"ABC"}`, false},
		{`{"CLAIM":"s","Equals":"abc"}`, true},
		{`{"claim":"S","equals":"abc"}`, false},
		{`{"claim":"empty","equals":""}`, true},
		// booleans and numbers equal their canonical text, and nothing else
		{`{"claim":"b","equals":true}`, true},
		{`{"claim":"b","equals":"true"}`, true},
		{`{"claim":"b","equals":"TRUE"}`, false},
		{`{"claim":"b","equals":1}`, false},
		{`{"claim":"b","equals":"1"}`, false},
		{`{"claim":"off","equals":"false"}`, true},
		{`{"claim":"off","equals":false}`, true},
		{`{"claim":"off","equals":0}`, false},
		{`{"claim":"n","equals":3}`, true},
		{`{"claim":"n","equals":"3"}`, true},
		{`{"claim":"n","equals":3.0}`, true},
		{`{"claim":"n","equals":"3.0"}`, false},
		{`{"claim":"n","equals":"03"}`, false},
		{`{"claim":"n","equals":" 3"}`, false},
		{`{"claim":"n","equals":"+3"}`, false},
		{`{"claim":"zero","equals":"0"}`, true},
		{`{"claim":"zero","equals":-0}`, true},
		{`{"claim":"zero","equals":"-0"}`, false},
		{`{"claim":"zero","equals":false}`, false},
		{`{"claim":"one","equals":1}`, true},
		{`{"claim":"one","equals":true}`, false},
		{`{"claim":"padded","equals":1}`, false},
		{`{"claim":"big","equals":18446744073709551615}`, true},
		{`{"claim":"big","equals":"18446744073709551615"}`, true},
		{`{"claim":"big","equals":18446744073709551614}`, false},
		{`{"claim":"big","equals":18446744073709551615.5}`, false},
		// lists and objects equal nothing and differ from nothing
		{`{"claim":"list","equals":"abc"}`, false},
		{`{"claim":"list","notEquals":"abc"}`, false},
		{`{"claim":"obj","notEquals":"abc"}`, false},
		{`{"claim":"list.0","equals":"abc"}`, false},
		{`{"claim":"obj.list.0","equals":"y"}`, false},
		{`{"claim":"s","notEquals":"abd"}`, true},
		{`{"claim":"s","notEquals":"abc"}`, false},
		{`{"claim":"off","notEquals":"false"}`, false},
		{`{"claim":"off","notEquals":"true"}`, true},
		{`{"claim":"off","notEquals":0}`, true},
		{`{"claim":"n","notEquals":"3"}`, false},
		// a missing claim makes every condition false, but exists false
		{`{"claim":"none","equals":""}`, false},
		{`{"claim":"none","notEquals":"x"}`, false},
		{`{"claim":"none","less":5}`, false},
		{`{"claim":"none","lessOrEquals":5}`, false},
		{`{"claim":"none","greater":5}`, false},
		{`{"claim":"none","greaterOrEquals":-5}`, false},
		{`{"claim":"none","exists":true}`, false},
		{`{"claim":"none","exists":false}`, true},
		{`{"claim":"no.ne","exists":false}`, true},
		{`{"claim":"off","exists":true}`, true},
		{`{"claim":"off","exists":false}`, false},
		{`{"claim":"obj","exists":true}`, true},
		{`{"claim":"a.c","exists":true}`, true},
		{`{"claim":"a.c","exists":false}`, false},
		// order is of numbers
		{`{"claim":"n","less":4}`, true},
		{`{"claim":"n","less":3}`, false},
		{`{"claim":"n","less":"4"}`, true},
		{`{"claim":"n","lessOrEquals":3}`, true},
		{`{"claim":"n","greater":2.5}`, true},
		{`{"claim":"n","greater":"x"}`, false},
		{`{"claim":"n","less":"x"}`, false},
		{`{"claim":"n","greaterOrEquals":3}`, true},
		{`{"claim":"n","greaterOrEquals":4}`, false},
		{`{"claim":"neg","less":-4}`, true},
		{`{"claim":"text","less":8}`, true},
		{`{"claim":"padded","less":8}`, false},
		{`{"claim":"s","less":8}`, false},
		{`{"claim":"long","greater":8}`, false},
		{`{"claim":"b","less":8}`, false},
		{`{"claim":"obj","less":8}`, false},
		{`{"claim":"big","greater":18446744073709551614}`, true},
		{`{"claim":"big","greater":18446744073709551615}`, false},
		{`{"claim":"big","greater":9223372036854775807}`, true},
		// a dotted name is a name first, a path second
		{`{"claim":"a.b","equals":"whole"}`, true},
		{`{"claim":"a.b","equals":"path"}`, false},
		{`{"claim":"obj.in","equals":"x"}`, true},
		{`{"claim":"obj.in","notEquals":"y"}`, true},
		{`{"claim":"a.c","equals":false}`, true},
		{`{"claim":"a.d.e","equals":"no"}`, false},
		{`{"claim":"s.in","exists":true}`, false},
		// any text is a text
		{`{"claim":"q\"uo\\te","equals":"1"}`, true},
		{`{"claim":"\u202e\ud83d\ude00","equals":"ü\n\""}`, true},
		{`{"claim":"\u202e\ud83d\ude00","equals":"ü\n"}`, false},
		// nesting
		{`{"anyOf":[{"claim":"s","equals":"x"},{"claim":"n","equals":3}]}`, true},
		{`{"anyOf":[{"claim":"s","equals":"x"},{"claim":"n","equals":4}]}`, false},
		{`{"allof":[{"claim":"s","equals":"abc"},{"claim":"n","equals":4}]}`, false},
		{`{"claim":"s","equals":"abc"},{"anyof":[{"allOf":[{"claim":"n","equals":3},{"anyOf":[{"claim":"b","equals":"true"}]}]}]}`, true},
	} {
		if got := allows(t, e, under(tt.condition), vouched(claims)); got != tt.want {
			t.Errorf("%s: %v", tt.condition, got)
		}
	}
}

func TestJSONAuthority(t *testing.T) {
	e := engine(t)
	for _, tt := range []struct {
		policy, evidence string
		want             bool
	}{
		{authority, authority, true},
		{authority + "/", authority, true},
		{authority, authority + "/", true},
		{authority + "/", authority + "/", true},
		{authority, authority + "//", false},
		{authority + "//", authority, false},
		{authority, strings.ToUpper(authority), false},
		{authority, authority + ".evil.example", false},
		{authority, "", false},
		{authority, "https://sharedeus.eus.attest.azure.ne", false},
	} {
		in := vouched(attest.Claims{"s": "abc"})
		in.Evidence.Authority = tt.evidence
		src := `{"version":"1.0.0","anyOf":[{"authority":"` + tt.policy + `","anyOf":[{"claim":"s","equals":"abc"}]}]}`
		if got := allows(t, e, src, in); got != tt.want {
			t.Errorf("policy %s, evidence %s: %v", tt.policy, tt.evidence, got)
		}
	}
	two := `{"authority":"https://a","allOf":[{"claim":"s","equals":"abc"}]},{"authority":"` + authority + `","allOf":[{"claim":"s","equals":"abc"}]}`
	if !allows(t, e, `{"version":"1.0.0","anyOf":[`+two+`]}`, vouched(attest.Claims{"s": "abc"})) {
		t.Error("the second authority is not asked")
	}
	if allows(t, e, `{"version":"1.0.0","allOf":[`+two+`]}`, vouched(attest.Claims{"s": "abc"})) {
		t.Error("allOf of two authorities holds for one")
	}
}

func TestJSONUpload(t *testing.T) {
	e := engine(t)
	full := under(`{"claim":"tdx_mrtd","equals":"00"},{"claim":"attester_tcb_status","equals":"UpToDate"}`)
	if ds, err := e.Inspect(t.Context(), policyJSON(full)); err != nil || len(ds) != 0 {
		t.Errorf("%v %v", ds, err)
	}
	// JSON is refused where it is wrong.
	ds := diagnostics(t, e.Check(t.Context(), policyJSON("{\n \"version\": \"1.0.0\",\n \"nope\": 1}")))
	if len(ds) != 1 || ds[0].Code != "policy_json" || ds[0].Row != 3 || ds[0].Col != 2 {
		t.Errorf("%+v", ds)
	}
	// Neither type is read as the other.
	diagnostics(t, e.Check(t.Context(), policy(full)))
	diagnostics(t, e.Check(t.Context(), policyJSON(preamble+"allow if true")))
	// The largest policy there is compiles within what a compilation may cost.
	var wide []string
	for i := 0; len(strings.Join(wide, ",")) < azure.MaxSize-350; i++ {
		if i%60 == 0 {
			wide = append(wide, `{"anyOf":[{"claim":"a.b","less":1}`)
		}
		wide = append(wide, fmt.Sprintf(`{"claim":"%d.a","exists":false}`, i))
		if i%60 == 59 {
			wide[len(wide)-1] += "]}"
		}
	}
	src := under(strings.Join(wide, ",") + "]}")
	if err := e.Check(t.Context(), policyJSON(src)); err != nil {
		t.Errorf("%d bytes: %v", len(src), err)
	}
	if allows(t, e, src, vouched(attest.Claims{})) != true {
		t.Error("all claims are absent, and the policy does not hold")
	}
}

func TestJSONWarnings(t *testing.T) {
	e := engine(t)
	for _, tt := range []struct{ condition, code, text string }{
		{`{"claim":"x-ms-nothing","equals":"x"}`, "lint_claim", "no verifier gives"},
		{`{"claim":"tpm.clock.nope","exists":true}`, "lint_claim", "no verifier gives"},
		{`{"claim":"tpm.clock","equals":"x"}`, "lint_claim", "is an object: only exists"},
		{`{"claim":"list","equals":"x"}`, "lint_claim", "is an array: only exists"},
		{`{"claim":"secureboot","equals":"TRUE"}`, "lint_claim", "is true or false"},
		{`{"claim":"level","less":"x"}`, "lint_json", "never holds"},
		{`{"claim":"unverified.os_distro","equals":"x"}`, "lint_unverified", "client's own word"},
		{`{"claim":"secureboot","equals":"true"}`, "lint_no_measurement", "no measurement"},
		{`{"claim":"free.any.thing","equals":"true"}`, "lint_no_measurement", "no measurement"},
	} {
		ds, err := e.Inspect(t.Context(), policyJSON(under(tt.condition)))
		i := slices.IndexFunc(ds, func(d Diagnostic) bool { return d.Code == tt.code && strings.Contains(d.Message, tt.text) })
		if err != nil || i < 0 {
			t.Errorf("%s: %v %v", tt.condition, ds, err)
		}
		if tt.code == "lint_no_measurement" && (len(ds) != 1 || ds[0].Row != 0) { // no place in the Rego, which nobody uploaded
			t.Errorf("%s: %v", tt.condition, ds)
		}
	}
	// Without a schema nothing is unknown.
	e.config.ClaimsSchema = nil
	if ds, err := e.Inspect(t.Context(), policyJSON(under(`{"claim":"snp.measurement","equals":"x"}`))); err != nil || len(ds) != 0 {
		t.Errorf("%v %v", ds, err)
	}
}

func TestJSONExplained(t *testing.T) {
	e := engine(t)
	src := `{
  "version": "1.0.0",
  "anyOf": [
    { "authority": "https://other", "allOf": [ { "claim": "s", "equals": "x" } ] },
    { "authority": "` + authority + `",
      "allOf": [
        { "anyOf": [ { "claim": "s", "equals": "x" }, { "claim": "tee.status", "notEquals": "bad" }, { "claim": "n", "exists": false } ] },
        { "claim": "never", "equals": "asked" }
      ] } ]
}`
	in := vouched(attest.Claims{"s": "abc", "n": int64(1), "tee": map[string]any{"status": "bad"}})
	x, err := e.Explain(t.Context(), policyJSON(src), mustJSON(t, in))
	if err != nil || x.Decision.Allow || x.Decision.Reason != release.ReasonPolicyDenied {
		t.Fatal(x, err)
	}
	want := `anyOf[0] 4:5 authority is https://other: authority = "` + authority + `"
anyOf[1].allOf[0].anyOf[0] 7:22 s equals "x": s = "abc"
anyOf[1].allOf[0].anyOf[1] 7:55 tee.status notEquals "bad": tee.status = "bad"
anyOf[1].allOf[0].anyOf[2] 7:102 n exists false: n = 1
`
	got := ""
	for _, f := range x.Failures {
		got += fmt.Sprintf("%s %d:%d %s: %s\n", f.Rule, f.Row, f.Col, f.Text, f.Values[0])
	}
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	in.Claims = attest.Claims{"s": "x"}
	if x, err = e.Explain(t.Context(), policyJSON(src), mustJSON(t, in)); err != nil || x.Failures[len(x.Failures)-1].Values[0].String() != "never = (missing)" {
		t.Errorf("%+v %v", x, err)
	}
}

// A policy in JSON that allows without naming the TCB status gets UpToDate only.
func TestJSONNamesTCB(t *testing.T) {
	e := engine(t)
	for condition, named := range map[string]bool{
		`{"claim":"s","equals":"abc"}`: false,
		`{"claim":"s","equals":"abc"},{"claim":"attester_tcb_status","equals":"OutOfDate"}`:                    true,
		`{"claim":"s","equals":"abc"},{"claim":"x-ms-isolation-tee.attester_tcb_status","equals":"OutOfDate"}`: true,
		`{"claim":"s","equals":"abc"},{"claim":"other.attester_tcb_status","exists":false}`:                    false,
	} {
		in := vouched(attest.Claims{"s": "abc", "attester_tcb_status": "OutOfDate", "x-ms-isolation-tee": map[string]any{"attester_tcb_status": "OutOfDate"}})
		in.Evidence.TCBStatus = attest.TCBUpToDate
		if d, err := e.Evaluate(t.Context(), policyJSON(under(condition)), in); err != nil || !d.Allow {
			t.Errorf("%s: %+v %v", condition, d, err)
		}
		in.Evidence.TCBStatus = "OutOfDate"
		if d, err := e.Evaluate(t.Context(), policyJSON(under(condition)), in); err != nil || d.Allow != named || !named && d.Reason != release.ReasonTCBNotNamed {
			t.Errorf("%s: %+v %v", condition, d, err)
		}
	}
}

// The same bytes are two policies under two types: one does not answer for the other.
func TestJSONAndRegoDoNotShareACache(t *testing.T) {
	e := engine(t)
	src := under(`{"claim":"s","equals":"abc"}`)
	if _, err := e.Evaluate(t.Context(), policy(src), vouched(nil)); release.ReasonOf(err) != release.ReasonPolicyError {
		t.Errorf("JSON as Rego: %v", err)
	}
	for range 3 {
		if !allows(t, e, src, vouched(attest.Claims{"s": "abc"})) {
			t.Error("refused")
		}
	}
	if len(e.cache.entries) != 2 {
		t.Errorf("%d programs for two policies", len(e.cache.entries))
	}
	p := policyJSON(src)
	p.Data = []byte(under(`{"claim":"s","equals":"abd"}`))
	if _, err := e.Evaluate(t.Context(), p, vouched(nil)); release.ReasonOf(err) != release.ReasonPolicyError {
		t.Errorf("other bytes under the digest: %v", err)
	}
}

func TestFromJSON(t *testing.T) {
	rego, err := FromJSON([]byte(under(`{"claim":"tdx_mrtd","equals":"00"}`)))
	if err != nil || !strings.Contains(string(rego), `input.claims["tdx_mrtd"] == "00"`) {
		t.Errorf("%s %v", rego, err)
	}
	if _, err := FromJSON([]byte(`{}`)); diagnostics(t, err)[0].Code != "policy_json" {
		t.Error(err)
	}
}
