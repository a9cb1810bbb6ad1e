package policies

import (
	"fmt"
	"strings"
	"testing"

	"github.com/openskr/openskr/release"
)

// uploads that are refused, with the code and the place of the first error.
func TestUploadRefused(t *testing.T) {
	sequential(t)
	e := engine(t)
	deep := strings.Repeat("(", 40) + "1" + strings.Repeat(")", 40)
	for _, tt := range []struct{ name, src, code string }{
		// RP-01, RP-02, RP-20, RP-21: the surface of built-ins
		{"http.send", preamble + `allow if http.send({"method": "get", "url": "http://localhost"}).status_code == 200`, "policy_builtin"},
		{"net.lookup_ip_addr", preamble + `allow if net.lookup_ip_addr("localhost")`, "policy_builtin"},
		{"opa.runtime", preamble + `allow if opa.runtime().env`, "policy_builtin"},
		{"json.match_schema", preamble + `allow if json.match_schema({}, {"$ref": "http://localhost"})[0]`, "policy_builtin"},
		{"json.verify_schema", preamble + `allow if json.verify_schema({})[0]`, "policy_builtin"},
		{"rego.parse_module", preamble + `allow if rego.parse_module("a", "package a")`, "policy_builtin"},
		{"rego.metadata", preamble + `allow if rego.metadata.rule()`, "policy_builtin"},
		{"io.jwt.encode_sign", preamble + `allow if io.jwt.encode_sign({}, {}, {}) != ""`, "policy_builtin"},
		{"rand.intn", preamble + `allow if rand.intn("a", 3) == 1`, "policy_builtin"},
		{"uuid", preamble + `allow if uuid.rfc4122("a") != ""`, "policy_builtin"},
		{"time.now_ns", preamble + `allow if time.now_ns() > 1`, "policy_builtin"},
		{"numbers.range", preamble + `allow if count(numbers.range(1, 1000000000)) > 0`, "policy_builtin"},
		{"bits.lsh", preamble + `allow if bits.lsh(1, 100000000000) > 0`, "policy_builtin"},
		{"walk", preamble + `allow if walk(input, [["x"], _])`, "policy_builtin"},
		{"providers.aws", preamble + `allow if providers.aws.sign_req({}, {}, 1)`, "policy_builtin"},
		{"print", preamble + `allow if print(1)`, "policy_builtin"},
		{"trace", preamble + `allow if trace("x")`, "policy_builtin"},
		{"print in a comprehension", preamble + `allow if count([1 | print(input)]) > 0`, "policy_builtin"},
		{"our own bound", preamble + `allow if internal.openskr_bound(1)`, "policy_builtin"},
		{"unknown built-in", preamble + `allow if does.not_exist(1)`, "rego_type_error"},
		{"with on input", preamble + `allow if input.claims.level == 1 with input as {"claims": {"level": 1}}`, "policy_with"},
		{"with on a built-in", preamble + "allow if q with count as http.send\nq if count(input.claims.list) == 1", "policy_with"},
		{"with on time", preamble + `allow if q with time.now_ns as 1` + "\nq if true", "policy_with"},
		// RP-13: other data
		{"other data", preamble + `allow if data.secret`, "policy_data"},
		{"computed data", preamble + `allow if data[input.claims.name]`, "policy_data"},
		{"data as a value", preamble + `allow if { x := data; x.secret }`, "policy_data"},
		{"data in a call", preamble + `allow if count(data) > 0`, "policy_data"},
		{"data in a head", preamble + "p[data.secret] := 1\nallow if p", "policy_data"},
		{"data in a longer head", preamble + "p.x[data.secret] := 1\nallow if p", "policy_data"},
		{"data in a function head", preamble + "f(data.secret) := 1\nallow if f(1)", "policy_data"},
		{"data in an else", preamble + "allow := true if { input.claims.level == 1 } else := data.secret", "policy_data"},
		{"data as a variable", preamble + `allow if { some data in input.claims.list; data == "a" }`, "policy_data"},
		{"data as an argument", preamble + "allow if f(1)\nf(data) if data == 1", "policy_data"},
		{"own package by path", preamble + `allow if data.release.allow2`, "policy_data"},
		{"import other data", "package release\nimport data.other\nallow if other.x", "policy_import"},
		{"import v2", "package release\nimport rego.v2\nallow if true", "rego_parse_error"},
		{"import future", "package release\nimport future.keywords.or\nallow if true", "rego_parse_error"},
		{"template string", preamble + `allow if input.claims.name == $"{input.claims.name}"`, "policy_text"},
		// RP-11, RP-12: shape
		{"wrong package", "package access\ndefault allow := false\nallow if true", "policy_package"},
		{"longer package", "package release.x\ndefault allow := false\nallow if true", "policy_package"},
		{"two packages", preamble + "package release\nallow if true", "rego_parse_error"},
		{"empty", "", "policy_package"},
		{"comments only", "# nothing\n", "policy_package"},
		{"no allow", "package release\ndeny contains \"x\" if true", "policy_allow"},
		{"default true (RP-10)", "package release\ndefault allow := true", "policy_allow"},
		{"default string", "package release\ndefault allow := \"yes\"", "policy_allow"},
		{"allow a function", preamble + "allow(x) if x", "policy_allow"},
		{"allow a set", "package release\nallow contains 1 if true", "policy_allow"},
		{"allow a table", "package release\nallow[x] := true if some x in [1]", "policy_rule"},
		{"allow a path", "package release\nallow.x := true", "policy_rule"},
		{"deny a rule", preamble + "allow if true\ndeny := false", "policy_deny"},
		{"deny a function", preamble + "allow if true\ndeny(x) if x", "policy_deny"},
		{"a built-in's name", preamble + "allow if count(1)\ncount(x) if x", "policy_rule"},
		{"allow a string", "package release\nallow := \"yes\"", "policy_allow"},
		{"allow a number", "package release\nallow := 1 if input.claims.level", "policy_allow"},
		{"allow an object", "package release\nallow := {\"allow\": true}", "policy_allow"},
		{"allow an array", "package release\nallow := [true]", "policy_allow"},
		{"allow null", "package release\nallow := null", "policy_allow"},
		// schema: a misspelt claim has a place
		{"misspelt claim", preamble + "allow if {\n\tinput.claims.level == 2\n\tinput.claims.secureboo\n}", "rego_type_error"},
		{"misspelt claim under not", preamble + "allow if not input.claims.revokd", "rego_type_error"},
		{"misspelt request", preamble + "allow if input.request.tim > 3", "rego_type_error"},
		{"claim of another type", preamble + `allow if input.claims.level == "2"`, "rego_type_error"},
		{"PCR without a bank", preamble + `allow if input.claims.tpm.pcrs.sha1["4"] == "x"`, "rego_type_error"},
		{"PCR 24", preamble + `allow if input.claims.tpm.pcrs.sha256["24"] == "x"`, "rego_type_error"},
		{"caller's own claims (RP-26)", preamble + `allow if input.request.evidence.level == 1`, "rego_type_error"},
		// RP-14, RP-15: size
		{"64 KiB + 1", preamble + "allow if true #" + strings.Repeat("x", maxSource), "policy_size"},
		{"brackets", preamble + "allow if " + deep + " == 1", "policy_text"},
		{"unclosed brackets", preamble + "allow if " + strings.Repeat("[", 20_000), "policy_text"},
		{"loops", preamble + "allow if count([1 | [1 | [1 | [1 | [1 | input.claims.level]]]]]) > 0", "policy_size"},
		{"body", preamble + "allow if {\n" + strings.Repeat("input.claims.level > 1\n", 101) + "}", "policy_size"},
		{"elements", preamble + "allow if 1 in [" + strings.Repeat("1,", 257) + "]", "policy_size"},
		{"computed parts", preamble + "allow if count([" + strings.Repeat("input.claims.name,", 65) + "]) > 0", "policy_size"},
		{"minus chain", preamble + "allow if 1" + strings.Repeat("-1", 100) + " == 1", "policy_size"},
		{"many parts", preamble + "allow if true\n" + strings.Repeat("x if y\n", 9000), "policy_size"},
		{"long number", preamble + "allow if " + strings.Repeat("1", 50) + " == 1", "policy_size"},
		{"exponent", preamble + "allow if 1e4000 == 1", "policy_size"},
		{"two literals", preamble + "allow if [input.claims.level] == [input.claims.level]", "policy_rule"},
		// RP-16: what a reader does not see
		{"bidi override", preamble + "allow if true # \u202e", "policy_text"},
		{"bidi isolate in a string", preamble + "allow if input.claims.name == \"\u2066\"", "policy_text"},
		{"zero width", preamble + "allow if input.claims.name == \"a\u200bb\"", "policy_text"},
		{"BOM", "\ufeff" + preamble + "allow if true", "policy_text"},
		{"CRLF", "package release\r\ndefault allow := false\r\nallow if true", "policy_text"},
		{"NUL", preamble + "allow if true\x00", "policy_text"},
		{"invalid UTF-8", preamble + "allow if true # \xff", "policy_text"},
		{"look-alike name", preamble + "аllow if true", "policy_text"}, // Cyrillic a
		{"look-alike keyword", preamble + "allow if trυe", "policy_text"},
		// compiler
		{"unsafe variable", preamble + "allow if x > 1", "rego_unsafe_var_error"},
		{"recursion", preamble + "allow if p\np if q\nq if p", "rego_recursion_error"},
		{"unused variable (strict)", preamble + "allow if { x := 1; input.claims.level == 2 }", "rego_compile_error"},
		{"syntax", preamble + "allow if {", "rego_parse_error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ds := diagnostics(t, e.Check(t.Context(), policy(tt.src)))
			d := ds[0]
			for _, x := range ds {
				if x.Severity == SeverityError {
					d = x
					break
				}
			}
			if d.Code != tt.code || d.Row < 1 || d.Col < 1 {
				t.Errorf("got %v, want %s", ds, tt.code)
			}
			if got, err := e.Evaluate(t.Context(), policy(tt.src), input(nil)); got.Allow || release.ReasonOf(err) != release.ReasonPolicyError {
				if !strings.HasPrefix(tt.name, "computed") { // never stored, and refused even so
					t.Errorf("evaluated: %+v %v", got, err)
				}
			}
		})
	}
}

func TestMisspeltClaimHasAPlaceAndTheKnownNames(t *testing.T) {
	ds := diagnostics(t, engine(t).Check(t.Context(), policy(preamble+"allow if {\n\tinput.claims.level == 2\n\tnot input.claims.revokd\n}")))
	var found *Diagnostic
	for i := range ds {
		if ds[i].Severity == SeverityError {
			found = &ds[i]
		}
	}
	if found == nil || found.Row != 7 || found.Col != 6 || !strings.Contains(found.Message, "revoked") {
		t.Errorf("got %v", ds)
	}
}

func TestContentTypes(t *testing.T) {
	e := engine(t)
	p := policy(`{"version":"1.0.0","anyOf":[]}`)
	for _, ct := range []string{"", "application/json", "text/plain", "APPLICATION/VND.OPENSKR.REGO"} {
		p.ContentType = ct
		if ds := diagnostics(t, e.Check(t.Context(), p)); ds[0].Code != "policy_type" {
			t.Errorf("%q: %v", ct, ds)
		}
		if d, err := e.Evaluate(t.Context(), p, input(nil)); d.Allow || release.ReasonOf(err) != release.ReasonPolicyError {
			t.Errorf("%q: %v %v", ct, d, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	e := engine(t)
	for _, tt := range []struct {
		src   string
		codes []string
	}{
		{"allow if not input.claims.revoked", []string{"lint_no_measurement", "lint_negated_claim"}},
		{"allow if not input.claims.level == 3", []string{"lint_no_measurement", "lint_negated_claim"}},
		{"allow if input.claims.snp.measurement == \"aa\"", []string{"lint_no_type"}},
		{"allow if { input.evidence.type == \"snp\"; input.claims.snp.measurement == \"aa\" }", nil},
		{"allow if input.claims.tdx_mrtd == \"aa\"", []string{"lint_no_type"}},
		{"allow if { input.evidence.type == \"azure-cvm\"; input.claims.tpm.pcrs.sha256[\"12\"] == \"00\" }", []string{"lint_paravisor"}},
		{"allow if { input.evidence.type == \"azure-cvm\"; input.claims.snp.id_key_digest == \"00\" }", nil},
		{"allow if input.claims.nitro.pcrs[\"0\"] == \"aa\"", nil},
		{"allow if { input.evidence.type == \"snp\"; input.claims.snp.measurement == \"aa\"; input.claims.unverified.os_distro == \"Ubuntu\" }", []string{"lint_unverified"}},
		{"allow if not \"x\" in input.claims.list", []string{"lint_no_measurement", "lint_negated_claim"}},
		{"allow if { x := input.claims.list; not \"x\" in x }", []string{"lint_no_measurement"}},
		{`allow if input.claims.tpm.pcrs.sha256["4"] == "00"`, []string{"lint_no_type", "lint_pcr_12"}},
		{`allow if { input.evidence.type == "tpm"; input.claims.tpm.pcrs.sha256["4"] == "00"; input.claims.tpm.pcrs.sha256["12"] == "00" }`, nil},
		{`allow if { input.evidence.type == "tpm"; every i in ["4", "12"] { input.claims.tpm.pcrs.sha256[i] == "00" } }`, nil},
		{"allow if { input.evidence.type == \"tpm\"; every i in [\"12\"] { input.claims.tpm.pcrs.sha256[i] == \"00\" } }\ndeny contains \"x\" if input.claims.level != 2", []string{"lint_deny_claim"}},
	} {
		ds, err := e.Inspect(t.Context(), policy(preamble+tt.src))
		if err != nil {
			t.Errorf("%s: %v", tt.src, err)
		}
		var codes []string
		for _, d := range ds {
			if codes = append(codes, d.Code); d.Severity != SeverityWarning {
				t.Errorf("%v", d)
			}
		}
		if fmt.Sprint(codes) != fmt.Sprint(tt.codes) {
			t.Errorf("%s: %v, want %v", tt.src, codes, tt.codes)
		}
	}
}
