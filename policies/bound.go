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

func boundDecl() *types.Function { return types.NewFunction(types.Args(types.A), types.B) }

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
			if s := m.charge(int64(n>>6), int64(n)); s != nil {
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
				keys := append([]*ast.Term{r.Head.Key}, r.Head.Reference[1:]...)
				r.Body = b.body(r.Body, heads(keys, r.Head.Value)...)
			}
		}
	}
	return nil
}

type bounder struct{ arities map[string]int }

// inner reaches the bodies inside a body.
func (b bounder) inner(body ast.Body) {
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.ArrayComprehension:
			x.Body = b.body(x.Body, heads(nil, x.Term)...)
		case *ast.SetComprehension:
			x.Body = b.body(x.Body, heads([]*ast.Term{x.Term})...)
		case *ast.ObjectComprehension:
			x.Body = b.body(x.Body, heads([]*ast.Term{x.Key}, x.Value)...)
		case *ast.Every:
			x.Body = b.body(x.Body)
		}
		return false
	}).Walk(body)
}

// heads picks what to bound of a head: every computed key, since inserting it
// hashes it whole, and values that are built there.
func heads(keys []*ast.Term, values ...*ast.Term) (out []*ast.Term) {
	for _, t := range keys {
		if t != nil && !t.IsGround() {
			out = append(out, t)
		}
	}
	for _, t := range values {
		if t != nil && built(t) {
			out = append(out, t)
		}
	}
	return out
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

func (b bounder) body(body ast.Body, heads ...*ast.Term) (out ast.Body) {
	add := func(t *ast.Term, at *ast.Location) {
		e := &ast.Expr{Terms: []*ast.Term{ast.NewTerm(boundRef()), t}, Generated: true}
		e.SetLocation(at)
		out.Append(e)
	}
	var at *ast.Location
	for _, e := range body {
		at = e.Location
		if e.IsCall() && !e.IsEquality() { // arguments of functions
			for i, t := range e.Operands() {
				if i < b.arities[e.Operator().String()] && collection(t.Value) && !t.IsGround() {
					add(t, at)
				}
			}
		}
		out.Append(e)
		if e.IsEquality() && !e.Negated {
			l, r := e.Operand(0), e.Operand(1)
			if _, ok := l.Value.(ast.Var); ok && built(r) {
				add(l, at)
			} else if _, ok := r.Value.(ast.Var); ok && built(l) {
				add(r, at)
			}
		}
	}
	for _, t := range heads {
		add(t, at)
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
