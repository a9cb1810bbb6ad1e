package policies

import (
	"context"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/types"

	"github.com/openskr/openskr/release"
)

// boundName is a built-in that only boundStage calls: the compiler inserts it
// next to every constructed value, so that no variable, argument or rule holds
// one larger than the limit. With that, each native step of OPA that cannot be
// interrupted (compare, hash, insert, unify) is small.
const boundName = "internal.openskr_bound"

// keySteps is the extra price of a computed key of an object: giving a key a
// second time makes OPA hash the whole object again.
const keySteps = 16

// boundDecl: the value and extra steps to charge.
func boundDecl() *types.Function { return types.NewFunction(types.Args(types.A, types.N), types.B) }

func boundBuiltin() *topdown.Builtin {
	return &topdown.Builtin{
		Decl: &ast.Builtin{Name: boundName, Decl: boundDecl()},
		Func: func(b topdown.BuiltinContext, ops []*ast.Term, next func(*ast.Term) error) error {
			m, ok := b.Cancel.(*meter)
			if !ok {
				m = newMeter(context.Background(), defaultLimits, time.Now)
			}
			n := size(ops[0], m.limits.value)
			if n > m.limits.value {
				return halt(b.Location, release.ReasonPolicyResource, "value larger than %d bytes", m.limits.value)
			}
			extra := 0
			if w, ok := ops[1].Value.(ast.Number); ok {
				extra, _ = w.Int()
			}
			if s := m.charge(int64(extra+n>>6), int64(n)); s != nil {
				return topdown.Halt{Err: s}
			}
			return next(ast.InternedTerm(true))
		},
	}
}

// boundStage runs when the compiler has given every computed part a variable of
// its own, and before type checks and indexing.
//
// Literals on both sides of an equality are refused at upload (check.go), so one
// side of every comparison is a variable that was bounded before.
func boundStage(c *ast.Compiler) *ast.Error {
	b := bounder{arities(c)}
	for _, m := range c.Modules {
		for _, rule := range m.Rules {
			for r := rule; r != nil; r = r.Else {
				b.inner(r.Body)
				var h heads
				if r.Head.Key != nil {
					h.add(r.Head.Key, 0)
				}
				for _, t := range r.Head.Reference[1:] {
					h.add(t, keySteps)
				}
				if r.Head.Value != nil && (len(r.Head.Reference) > 1 || built(r.Head.Value)) {
					h.add(r.Head.Value, 0)
				}
				r.Body = b.body(r.Body, h)
			}
		}
	}
	return nil
}

type bounder struct{ arities map[string]int }

// inner reaches the bodies inside a body.
func (b bounder) inner(body ast.Body) {
	ast.NewGenericVisitor(func(x any) bool {
		var h heads
		switch x := x.(type) {
		case *ast.ArrayComprehension:
			if built(x.Term) {
				h.add(x.Term, 0)
			}
			x.Body = b.body(x.Body, h)
		case *ast.SetComprehension:
			h.add(x.Term, 0)
			x.Body = b.body(x.Body, h)
		case *ast.ObjectComprehension:
			h.add(x.Key, keySteps)
			h.add(x.Value, 0)
			x.Body = b.body(x.Body, h)
		case *ast.Every:
			x.Body = b.body(x.Body, nil)
		}
		return false
	}).Walk(body)
}

// heads is what to bound when a body is done: every computed part that is
// inserted somewhere, since that hashes it whole, and what is built there.
type heads []head

type head struct {
	term  *ast.Term
	steps int
}

func (h *heads) add(t *ast.Term, steps int) {
	if !t.IsGround() {
		*h = append(*h, head{t, steps})
	}
}

func built(t *ast.Term) bool {
	return (collection(t.Value) || comprehension(t)) && !t.IsGround()
}

func comprehension(t *ast.Term) bool {
	switch t.Value.(type) {
	case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension:
		return true
	}
	return false
}

func (b bounder) body(body ast.Body, ends heads) (out ast.Body) {
	add := func(t *ast.Term, steps int, at *ast.Location) {
		e := &ast.Expr{Terms: []*ast.Term{ast.NewTerm(boundRef()), t, ast.InternedTerm(steps)}, Generated: true}
		e.SetLocation(at)
		out.Append(e)
	}
	var at *ast.Location
	for _, e := range body {
		at = e.Location
		if e.IsCall() && !e.IsEquality() { // arguments of functions
			for i, t := range e.Operands() {
				if i < b.arities[e.Operator().String()] && collection(t.Value) && !t.IsGround() {
					add(t, 0, at)
				}
			}
		}
		out.Append(e)
		if e.IsEquality() && !e.Negated {
			l, r := e.Operand(0), e.Operand(1)
			if _, ok := l.Value.(ast.Var); ok && built(r) {
				add(l, 0, at)
			} else if _, ok := r.Value.(ast.Var); ok && built(l) {
				add(r, 0, at)
			}
		}
	}
	for _, h := range ends {
		add(h.term, h.steps, at)
	}
	return out
}

// arities maps the functions of the policy to their number of arguments; a call
// can have one operand more, its output, which is a pattern and not yet bound.
func arities(c *ast.Compiler) map[string]int {
	out := map[string]int{}
	for _, m := range c.Modules {
		for _, r := range m.Rules {
			if len(r.Head.Args) > 0 {
				out[r.Ref().String()] = len(r.Head.Args)
			}
		}
	}
	return out
}

func boundRef() ast.Ref {
	return ast.Ref{ast.VarTerm("internal"), ast.StringTerm("openskr_bound")}
}
