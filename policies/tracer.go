package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// tracer collects the conditions that failed. OPA's events speak of the compiled
// policy, with invented variables; the tracer looks the condition up in the source
// by its place and works its values out from there.
type tracer struct {
	source  map[place]*ast.Expr
	data    *ast.Term // {"references": …}; nil when not known
	queries map[uint64]*query
	seen    map[string]bool
	found   []Failure
	origin  *origin // of a policy in JSON: the explanation is in its words
}

type place struct {
	file     string
	row, col int
}

func placeOf(l *ast.Location) place { return place{l.File, l.Row, l.Col} }

// query is one evaluation of a body.
type query struct {
	parent  *query
	rule    *ast.Rule // whose body this is, or is inside of
	body    bool      // it is the body of rule itself
	negated bool      // an odd number of `not` is around it, so failing is good
	deny    bool      // it is part of a deny rule, so failing is good
	now     *ast.Expr // being evaluated
}

func newTracer(data *ast.Term, sources ...*ast.Module) *tracer {
	t := &tracer{source: map[place]*ast.Expr{}, data: data, queries: map[uint64]*query{}, seen: map[string]bool{}}
	for _, m := range sources {
		ast.WalkExprs(m, func(e *ast.Expr) bool {
			if c, ok := e.Terms.(*ast.Term); ok && ast.IsScalar(c.Value) {
				return false // the body that the parser gives a rule without one
			}
			if at := placeOf(e.Location); t.source[at] == nil {
				t.source[at] = e // the outermost that starts here
			}
			return false
		})
		ast.WalkTerms(m, func(x *ast.Term) bool { // the compiler makes conditions of parts of conditions
			if _, ok := x.Value.(ast.Ref); ok && x.Location != nil && t.source[placeOf(x.Location)] == nil {
				t.source[placeOf(x.Location)] = &ast.Expr{Terms: x, Location: x.Location}
			}
			return false
		})
	}
	return t
}

// Enabled implements topdown.QueryTracer.
func (*tracer) Enabled() bool { return true }

// Config implements topdown.QueryTracer.
func (*tracer) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

// TraceEvent implements topdown.QueryTracer.
func (t *tracer) TraceEvent(ev topdown.Event) {
	q := t.query(ev)
	switch n := ev.Node.(type) {
	case *ast.Rule:
		t.rule(q, n, ev)
	case *ast.Expr:
		switch {
		case ev.Op == topdown.EvalOp:
			q.now = n
		case ev.Op == topdown.FailOp && q.rule != nil && !q.negated && !q.deny:
			t.add(q.rule, n.Location, ev)
		}
	}
}

func (t *tracer) query(ev topdown.Event) *query {
	q := t.queries[ev.QueryID]
	if q == nil {
		q = &query{parent: t.queries[ev.ParentID]}
		if p := q.parent; p != nil {
			q.rule, q.deny = p.rule, p.deny
			q.negated = p.negated != (p.now != nil && p.now.Negated)
		}
		t.queries[ev.QueryID] = q
	}
	return q
}

func (t *tracer) rule(q *query, r *ast.Rule, ev topdown.Event) {
	q.rule, q.body = r, true
	q.deny = q.deny || name(r) == "deny"
	if ev.Op == topdown.ExitOp && name(r) == "deny" && !q.negated {
		t.add(r, r.Location, ev) // a deny rule that fired
	}
}

func name(r *ast.Rule) string { return r.Head.Ref().String() }

func (t *tracer) add(r *ast.Rule, at *ast.Location, ev topdown.Event) {
	if at == nil || len(t.found) >= maxFailures {
		return
	}
	if t.origin != nil {
		if f, ok := t.origin.failure(at.Row, ev.Input()); ok {
			t.keep(f)
		}
		return
	}
	f := Failure{file: at.File, Rule: name(r), Row: at.Row, Col: at.Col, Text: clean(strings.TrimSpace(firstLine(at.Text)), maxMessage)}
	l := &looker{roots: map[ast.Var]*ast.Term{"input": ev.Input(), "data": t.data}, locals: map[ast.Var]ast.Value{}, seen: map[string]bool{}}
	if ev.Locals != nil {
		ev.Locals.Iter(func(k, v ast.Value) bool {
			if name, ok := k.(ast.Var); ok {
				if md, ok := ev.LocalMetadata[name]; ok {
					name = md.Name
				}
				l.locals[name] = v
			}
			return false
		})
	}
	if name(r) == "deny" && at == r.Location {
		for _, e := range r.Body {
			if src := t.source[placeOf(e.Location)]; src != nil && !e.Generated {
				l.expr(src)
			}
		}
	} else if src := t.source[placeOf(at)]; src != nil {
		f.Text = clean(oneLine(src.Location.Text), maxMessage)
		l.expr(src)
	}
	f.Values = l.values
	t.keep(f)
}

func (t *tracer) keep(f Failure) {
	if key := fmt.Sprint(f); !t.seen[key] {
		t.seen[key] = true
		t.found = append(t.found, f)
	}
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSuffix(line, "{")
}

func oneLine(text []byte) string {
	if !strings.Contains(string(text), "\n") {
		return strings.TrimSpace(string(text))
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

// failures gives what was found in source order.
func (t *tracer) failures() []Failure {
	slices.SortStableFunc(t.found, func(a, b Failure) int { return cmp.Or(cmp.Compare(a.Row, b.Row), cmp.Compare(a.Col, b.Col)) })
	return t.found
}
