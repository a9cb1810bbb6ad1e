package policies

import (
	"errors"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
)

// A step is half a microsecond of budget; what a built-in looks at is charged to
// the meter of the evaluation, which OPA hands to it only when told to.
func TestBuiltinsChargeTheBudget(t *testing.T) {
	e := engine(t)
	prog, err := e.program(policy(preamble + "allow if count(upper(input.claims.free.long)) > 1"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := document(input(hostileClaims()))
	if err != nil {
		t.Fatal(err)
	}
	r := e.run(t.Context(), prog, doc, e.limits, nil)
	if !r.decision.Allow || r.steps < 2*60_000/64 || r.bytes < 60_000 {
		t.Errorf("60 kB read and 60 kB built cost %d steps and %d bytes", r.steps, r.bytes)
	}
	for _, name := range allowed() {
		if b := ast.BuiltinMap[name]; b.CanSkipBctx && name != "eq" && name != "assign" {
			t.Errorf("%s is called without the meter", name)
		}
	}
}

func TestCostRefuses(t *testing.T) {
	long := func(n int) *ast.Term { return ast.StringTerm(strings.Repeat("a", n)) }
	num := func(s string) *ast.Term { return ast.NewTerm(ast.Number(s)) }
	for _, tt := range []struct {
		name string
		ops  []*ast.Term
		want error
	}{
		{"sprintf", []*ast.Term{ast.StringTerm("%999d"), ast.ArrayTerm()}, nil},
		{"sprintf", []*ast.Term{ast.StringTerm("%1000d"), ast.ArrayTerm()}, errWidth},
		{"sprintf", []*ast.Term{ast.StringTerm("%.1000f"), ast.ArrayTerm()}, errWidth},
		{"sprintf", []*ast.Term{ast.StringTerm("%*d"), ast.ArrayTerm()}, errWidth},
		{"trim", []*ast.Term{long(1000), long(256)}, nil},
		{"trim", []*ast.Term{long(1000), long(257)}, errCutset},
		{"indexof", []*ast.Term{long(1000), long(257)}, errCutset},
		{"regex.match", []*ast.Term{long(256), long(4096)}, nil},
		{"regex.match", []*ast.Term{long(257), long(1)}, errPattern},
		{"regex.match", []*ast.Term{long(1), long(4097)}, errPattern},
		{"regex.match", []*ast.Term{ast.StringTerm("a{2}"), long(512)}, nil},
		{"regex.match", []*ast.Term{ast.StringTerm("a{2}"), long(513)}, errPattern},
		{"regex.match", []*ast.Term{ast.StringTerm("a{2}" + strings.Repeat("b", 61)), long(1)}, errPattern},
		{"mul", []*ast.Term{num(strings.Repeat("9", 400)), num("2")}, nil},
		{"mul", []*ast.Term{num("2"), num(strings.Repeat("9", 401))}, errDigits},
		{"plus", []*ast.Term{num("1e401"), num("2")}, errDigits},
		{"plus", []*ast.Term{num("1e-401"), num("2")}, errDigits},
		{"plus", []*ast.Term{num("1e+400"), num("2")}, nil},
		{"sum", []*ast.Term{ast.ArrayTerm(num("1"), num("1e9999"))}, errDigits},
		{"max", []*ast.Term{ast.SetTerm(num("1e9999"))}, errDigits},
		{"to_number", []*ast.Term{ast.StringTerm("1E9999")}, errDigits},
	} {
		if _, err := cost(tt.name, tt.ops, 0); !errors.Is(err, tt.want) {
			t.Errorf("%s(%.30v): %v, want %v", tt.name, tt.ops, err, tt.want)
		}
	}
	if w, err := cost("regex.match", []*ast.Term{long(10), long(10)}, 20); err != nil || w.bytes < 64*20 {
		t.Errorf("a regular expression costs %d", w.bytes)
	}
}
