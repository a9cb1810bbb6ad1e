package policies

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/openskr/openskr/policies/azure"
)

// origin is the JSON that a program's Rego was made from.
type origin struct {
	data []byte
	rego azure.Rego
}

// FromJSON gives the Rego that a policy in Azure's JSON grammar means, which is what
// Evaluate runs. An error has ReasonPolicyInvalid and a *CheckError.
func FromJSON(data []byte) ([]byte, error) {
	p, found := readJSON(data)
	if p == nil {
		return nil, verdict(tidy(found))
	}
	return p.Rego().Source, nil
}

// readJSON reads a policy and says what is remarkable in it. nil means refused.
func readJSON(data []byte) (*azure.Policy, []Diagnostic) {
	p, err := azure.Parse(data)
	if err != nil {
		at, message := 0, err.Error()
		var bad *azure.Error
		if errors.As(err, &bad) {
			at = bad.Offset
		}
		row, col := placeIn(data, at)
		return nil, []Diagnostic{{Row: row, Col: col, Code: "policy_json", Message: message}}
	}
	found := make([]Diagnostic, 0, len(p.Remarks))
	for _, r := range p.Remarks {
		row, col := placeIn(data, r.Offset)
		found = append(found, Diagnostic{Row: row, Col: col, Code: "lint_json", Message: r.Message, Severity: SeverityWarning})
	}
	return p, found
}

// placeIn turns an offset into row and column, which count from 1.
func placeIn(data []byte, at int) (row, col int) {
	before := data[:min(at, len(data))]
	return 1 + bytes.Count(before, []byte("\n")), len(before) - bytes.LastIndexByte(before, '\n')
}

// inspectJSON is Inspect of a policy in JSON. Claims are not held against the schema
// of the input: that a name is not known here makes a condition false, as in Azure,
// and not an error. It is a warning.
func (e *Engine) inspectJSON(ctx context.Context, data []byte) ([]Diagnostic, error) {
	p, found := readJSON(data)
	if p == nil {
		found = tidy(found)
		return found, verdict(found)
	}
	found = append(found, lintJSON(data, p, e.config.ClaimsSchema)...)
	remarks, err := e.inspect(ctx, task{Source: p.Rego().Source})
	var refused *CheckError
	switch {
	case errors.As(err, &refused):
		remarks = refused.Diagnostics
	case err != nil:
		return nil, err
	}
	for _, d := range remarks {
		d.Row, d.Col = 0, 0 // of the Rego, which the uploader did not write
		found = append(found, d)
	}
	found = tidy(found)
	return found, verdict(found)
}

// compileJSON compiles what passed inspectJSON.
func compileJSON(data []byte) (*program, error) {
	p, found := readJSON(data)
	if p == nil {
		return nil, &CheckError{tidy(found)}
	}
	rego := p.Rego()
	prog, found := compile(rego.Source, nil)
	if prog == nil {
		return nil, &CheckError{tidy(found)}
	}
	prog.origin = &origin{data: data, rego: rego}
	return prog, nil
}

// lintJSON warns of claims that no verifier of this build gives, and of comparisons
// that their type makes false.
func lintJSON(data []byte, p *azure.Policy, schema map[string]any) (found []Diagnostic) {
	p.Each(func(c *azure.Condition) {
		row, col := placeIn(data, c.Offset)
		warn := func(code, format string, args ...any) {
			found = append(found, Diagnostic{Row: row, Col: col, Code: code, Message: fmt.Sprintf(format, args...), Severity: SeverityWarning})
		}
		if strings.HasPrefix(c.Claim, "unverified.") {
			warn("lint_unverified", "what is under unverified is the client's own word: nothing proves it")
		}
		kind, known := kindOf(schema, c.Claim)
		switch {
		case schema == nil:
		case !known:
			warn("lint_claim", "no verifier gives a claim %q: as long as that is so, the condition only holds as exists false", c.Claim)
		case c.Operator == azure.Exists:
		case kind == "object" || kind == "array":
			warn("lint_claim", "claim %q is an %s: only exists can hold", c.Claim, kind)
		case kind == "boolean" && c.Value.Text != "true" && c.Value.Text != "false":
			warn("lint_claim", "claim %q is true or false, and never equals %q", c.Claim, c.Value.Text)
		}
	})
	return found
}

// kindOf gives the type of a claim, found as evaluation finds it: by its whole name,
// or else as a path of objects. It is "" for what stands in an open object.
func kindOf(schema map[string]any, claim string) (kind string, known bool) {
	if of, ok := property(schema, claim); ok {
		kind, _ = of["type"].(string)
		return kind, true
	}
	of := schema
	for part := range strings.SplitSeq(claim, ".") {
		if of["type"] == "object" && of["properties"] == nil {
			return "", true
		}
		var ok bool
		if of, ok = property(of, part); !ok {
			return "", false
		}
	}
	kind, _ = of["type"].(string)
	return kind, true
}

func property(schema map[string]any, name string) (map[string]any, bool) {
	all, _ := schema["properties"].(map[string]any)
	of, ok := all[name].(map[string]any)
	return of, ok
}

// failure gives the condition of the JSON that stands in a row of the Rego, and what
// the input says to it.
func (o *origin) failure(row int, input *ast.Term) (Failure, bool) {
	l, ok := o.rego.Rows[row]
	if !ok || input == nil { // a helper's own: the condition that asked it speaks
		return Failure{}, false
	}
	f := Failure{Rule: l.Path, Text: clean(l.Text, maxMessage)}
	f.Row, f.Col = placeIn(o.data, l.Offset)
	path := []string{"evidence", "authority"}
	name := "authority"
	if l.Claim != "" {
		name, path = l.Claim, []string{"claims", l.Claim}
	}
	got := follow(input, path...)
	if got == nil && l.Claim != "" {
		got = follow(input, append([]string{"claims"}, strings.Split(l.Claim, ".")...)...)
	}
	v := Value{Name: clean(name, maxValue), Got: missing}
	if got != nil {
		v.Got = show(got.Value)
	}
	f.Values = []Value{v}
	return f, true
}

func follow(at *ast.Term, path ...string) *ast.Term {
	for _, name := range path {
		o, ok := at.Value.(ast.Object)
		if !ok {
			return nil
		}
		if at = o.Get(ast.StringTerm(name)); at == nil {
			return nil
		}
	}
	return at
}
