package policies

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release"
)

func explain(t *testing.T, e *Engine, src string, in *release.Input) Explanation {
	t.Helper()
	doc, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	x, err := e.Explain(t.Context(), policy(preamble+src), doc)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func flat(fs []Failure) string {
	var b strings.Builder
	for _, f := range fs {
		fmt.Fprintf(&b, "%s %d:%d %s", f.Rule, f.Row, f.Col, f.Text)
		for _, v := range f.Values {
			fmt.Fprintf(&b, " | %s", v)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// TestExplain: what is missing is named (TP-17).
func TestExplain(t *testing.T) {
	e := engine(t)
	five := strings.Repeat("5", 64)
	for _, tt := range []struct{ name, src, want string }{
		{"constant", "allow if input.claims.level >= 3", "allow 5:10 input.claims.level >= 3 | input.claims.level = 2\n"},
		{"only the failing condition", "allow if {\n\tinput.claims.secureboot\n\tinput.claims.name == \"x\"\n\tinput.claims.level == 7\n}", "allow 7:2 input.claims.name == \"x\" | input.claims.name = \"abc\"\n"},
		{"missing", "allow if input.claims.revoked == false", "allow 5:10 input.claims.revoked == false | input.claims.revoked = (missing)\n"},
		{"missing argument", "allow if f(input.claims.revoked)\nf(x) if x == false", "allow 5:12 input.claims.revoked | input.claims.revoked = (missing)\n"},
		{"missing in a head", "allow := input.claims.revoked", "allow 5:10 input.claims.revoked | input.claims.revoked = (missing)\n"},
		{"not", "allow if not input.claims.secureboot", "allow 5:10 not input.claims.secureboot | input.claims.secureboot = true\n"},
		{
			"reference", `allow if data.references.web.pcr4[input.claims.tpm.pcrs.sha256["5"]]`,
			`allow 5:10 data.references.web.pcr4[input.claims.tpm.pcrs.sha256["5"]] | input.claims.tpm.pcrs.sha256["5"] = "` + five +
				`" | data.references.web.pcr4[input.claims.tpm.pcrs.sha256["5"]] = (missing) | data.references.web.pcr4 = one of 4444444444444444… (image 1), aaaaaaaaaaaaaaaa… (image 2)` + "\n",
		},
		{"claim against claim", "allow if input.claims.name == input.key.name", "allow 5:10 input.claims.name == input.key.name | input.claims.name = \"abc\" | input.key.name = \"disk\"\n"},
		{"local", "allow if {\n\tx := data.references.web.pcr4[input.claims.tpm.pcrs.sha256[\"4\"]].until\n\tx > input.request.time\n}", "allow 7:2 x > input.request.time | x = 0 | input.request.time = 1000\n"},
		{"helper", "allow if f(\"7\")\nf(i) if input.claims.tpm.pcrs.sha256[i] == \"00\"", "allow 5:10 f(\"7\")\nf 6:9 input.claims.tpm.pcrs.sha256[i] == \"00\" | i = \"7\" | input.claims.tpm.pcrs.sha256[i] = \"" + strings.Repeat("7", 64) + "\"\n"},
		{"helper that holds under not", "allow if not bad\nbad if input.claims.level == 2", "allow 5:10 not bad\n"},
		{"what fails under not is no failure", "allow if {\n\tnot bad\n\tinput.claims.level == 7\n}\nbad if input.claims.level == 99", "allow 7:2 input.claims.level == 7 | input.claims.level = 2\n"},
		{"every", "allow if every x in input.claims.list { x == \"a\" }", "allow 5:10 every x in input.claims.list { x == \"a\" } | input.claims.list = [\"a\",\"b\"]\nallow 5:41 x == \"a\" | x = \"b\"\n"},
		{"deny that fires, not the one that does not", "allow if true\ndeny contains \"x\" if input.claims.level == 2\ndeny contains \"y\" if input.claims.level == 3", "deny 6:1 deny contains \"x\" if input.claims.level == 2 | input.claims.level = 2\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := flat(explain(t, e, tt.src, input(nil)).Failures); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

func TestExplainIsBoundedAndPrintable(t *testing.T) {
	e := engine(t)
	in := input(attest.Claims{"name": "\x1b]0;" + strings.Repeat("x", 5000), "free": map[string]any{"a": strings.Repeat("y", 200_000)}})
	var many strings.Builder
	for i := range 300 {
		fmt.Fprintf(&many, "allow if input.claims.level == %d\n", i+1000)
	}
	for _, src := range []string{"allow if input.claims.name == \"a\"", "allow if input.claims.free == {\"a\": \"b\"}", "allow if input.claims.free.a == input.claims.name", many.String()} {
		x := explain(t, e, src, in)
		if len(x.Failures) == 0 || len(x.Failures) > maxFailures {
			t.Errorf("%d failures", len(x.Failures))
		}
		for _, f := range x.Failures {
			for _, v := range f.Values {
				if len(v.Got) > maxValue || len(v.Name) > maxValue || strings.ContainsRune(v.Got, 0x1b) {
					t.Errorf("%d bytes: %q", len(v.Got), v.Got)
				}
			}
		}
	}
}

func TestExplainRefusesWhatIsNoDocument(t *testing.T) {
	e := engine(t)
	for _, doc := range []string{"", "x", "[]", "{} {}", `"a"`, strings.Repeat("[", 100_000), "{\"a\":" + strings.Repeat(" ", maxInput) + "1}"} {
		if _, err := e.Explain(t.Context(), policy(preamble+"allow if true"), []byte(doc)); release.ReasonOf(err) != release.ReasonBadRequest || err == nil {
			t.Errorf("%.20q: %v", doc, err)
		}
	}
	if _, err := e.Explain(t.Context(), policy("package other"), []byte("{}")); release.ReasonOf(err) != release.ReasonPolicyError {
		t.Error(err)
	}
}

// RP-19: the stored document gives the decision that Evaluate gave, and the same
// number of steps.
func TestExplainDecidesAsEvaluate(t *testing.T) {
	sequential(t)
	e := engine(t)
	sources := []string{
		"allow if true", "allow if input.claims.level >= 3", "allow if input.machine.labels.role == input.key.tags.role", benchPolicy[len(preamble)-1:],
		"allow if input.claims.level == 9007199254740993", "deny contains sprintf(\"%v %v\", [k, v]) if some k, v in input.claims.tpm.pcrs.sha256\nallow if true",
		"allow if not bad\nbad if to_number(input.claims.name) > 1", "allow := input.claims.free", "allow if input.caller.roles == []", "allow if input.key.attributes.nbf",
		busy, "allow if count(input) == 6", "allow if { some x in input.claims; x == true }",
		"deny contains k if { some k, _ in input.key.attributes }\nallow if true", "allow if is_null(input.caller.roles)", "allow if is_null(input.key.tags)", "allow if is_null(input.claims)",
	}
	bare := &release.Input{}
	for _, in := range []*release.Input{input(nil), input(hostileClaims()), sixtyClaims(), input(attest.Claims{"level": uint64(9007199254740993)}), bare} {
		doc, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		for _, src := range sources {
			p := policy(preamble + src)
			prog, err := e.program(p)
			if err != nil {
				t.Fatal(src, err)
			}
			direct, err := document(in)
			if err != nil {
				t.Fatal(err)
			}
			r := e.run(t.Context(), prog, direct, e.limits, nil)
			x, err := e.Explain(t.Context(), p, doc)
			if err != nil {
				t.Fatal(err)
			}
			want := Explanation{Decision: r.decision, Steps: r.steps, Bytes: r.bytes, Failures: x.Failures}
			if r.err != nil {
				want.Error = r.err.Error()
			}
			if !reflect.DeepEqual(x, want) {
				t.Errorf("%.60q: explained %+v %s %d %d, evaluated %+v %s %d %d", src, x.Decision, x.Error, x.Steps, x.Bytes, want.Decision, want.Error, want.Steps, want.Bytes)
			}
			if !x.Decision.Allow && x.Error == "" && len(x.Failures) == 0 {
				t.Errorf("%.60q: denied without a reason", src)
			}
		}
	}
}
