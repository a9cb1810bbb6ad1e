package policies

import (
	"context"
	"encoding/json"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/openskr/openskr/release"
)

// Explanation says why a policy decides as it does, for the operator: its texts
// hold claims and reference values.
type Explanation struct {
	Decision release.Decision `json:"decision"`           // what Evaluate gives for the same document
	Error    string           `json:"error,omitempty"`    // text of a failed evaluation
	Failures []Failure        `json:"failures,omitempty"` // in source order, at most 100
	Steps    int64            `json:"steps"`              // of the evaluation
	Bytes    int64            `json:"bytes"`              // built by it
}

// Failure is one condition that did not hold, or a deny rule that fired. Every
// body of a rule stops at its first failing condition, so each shows at most one
// for each way it was tried.
type Failure struct {
	file   string
	Rule   string  `json:"rule"`
	Row    int     `json:"row"`
	Col    int     `json:"col"`
	Text   string  `json:"text"` // of the condition, as written
	Values []Value `json:"values,omitempty"`
}

// Value is what a part of a condition stood for: a claim, a reference, a
// variable. Got is JSON, cut to 120 bytes, or "(missing)".
type Value struct {
	Name string `json:"name"`
	Got  string `json:"got"`
}

// String gives name = value.
func (v Value) String() string { return v.Name + " = " + v.Got }

const (
	maxFailures = 100
	maxValue    = 120
	missing     = "(missing)"
)

// Explain evaluates a stored input document again, with the present references,
// and says which conditions failed. The decision is made exactly as Evaluate makes
// it; the failures come from a second, traced run with a larger budget. The errors
// are ReasonPolicyError for a policy that cannot be used and ReasonBadRequest for a
// document that is not JSON.
func (e *Engine) Explain(ctx context.Context, p release.ReleasePolicy, inputJSON []byte) (Explanation, error) {
	prog, err := e.program(p)
	if err != nil {
		return Explanation{}, release.Refuse(release.ReasonPolicyError, "release policy: %w", err)
	}
	doc, err := stored(inputJSON)
	if err != nil {
		return Explanation{}, release.Refuse(release.ReasonBadRequest, "%w", err)
	}
	out := e.run(ctx, prog, doc, e.limits, nil)
	x := Explanation{Decision: out.decision, Steps: out.steps, Bytes: out.bytes}
	if out.err != nil {
		x.Error = out.err.Error()
	}
	if x.Decision.Allow {
		return x, nil
	}
	rego := p.Data
	if prog.origin != nil {
		rego = prog.origin.rego.Source
	}
	source, found := parse(policyFile, rego)
	if source == nil {
		return Explanation{}, release.Refuse(release.ReasonPolicyError, "release policy: %w", &CheckError{tidy(found)})
	}
	more := e.limits
	more.steps, more.bytes, more.wall = 10*more.steps, 10*more.bytes, 10*more.wall
	tr := newTracer(ast.NewTerm(e.references.Load().root), source)
	tr.origin = prog.origin
	_ = e.run(ctx, prog, doc, more, tr) // an error of it is the one above, or only of the larger work
	x.Failures = tr.failures()
	return x, nil
}

// show writes a value as JSON, cut.
func show(v ast.Value) string {
	if v == nil {
		return missing
	}
	if n := size(ast.NewTerm(v), 64<<10); n > 64<<10 {
		return "(large " + ast.ValueName(v) + ")"
	}
	plain, err := ast.JSON(v)
	if err != nil {
		return "(" + ast.ValueName(v) + ")"
	}
	b, err := json.Marshal(plain)
	if err != nil {
		return "(" + ast.ValueName(v) + ")"
	}
	if len(b) > maxValue {
		return clean(string(b), maxValue-len("…")) + "…"
	}
	return clean(string(b), maxValue)
}
