package policies

import (
	"context"

	"github.com/openskr/openskr/release"
)

// Explanation says why a policy decided as it did, for the operator.
type Explanation struct {
	Decision release.Decision `json:"decision"`
	Error    string           `json:"error,omitempty"` // text of a failed evaluation
	Failures []Failure        `json:"failures,omitempty"`
	Steps    int64            `json:"steps"`
	Bytes    int64            `json:"bytes"`
}

// Failure is one condition that did not hold or one deny message that did.
type Failure struct {
	Rule   string  `json:"rule"`
	Row    int     `json:"row"`
	Col    int     `json:"col"`
	Text   string  `json:"text"`
	Values []Value `json:"values,omitempty"`
}

// Value is what a part of a condition stood for.
type Value struct {
	Name string `json:"name"`
	Got  string `json:"got"`
}

// Explain evaluates a stored input document again and says which conditions failed.
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
	return x, nil
}
