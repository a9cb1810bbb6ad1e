package policies

import (
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

const maxValues = 12 // of one condition

// looker finds out what the parts of a condition stand for.
type looker struct {
	roots  map[ast.Var]*ast.Term
	locals map[ast.Var]ast.Value // variables by their source names
	seen   map[string]bool
	values []Value
}

// expr notes every reference and variable of e, in the order they are written.
func (l *looker) expr(e *ast.Expr) {
	switch terms := e.Terms.(type) {
	case *ast.Term:
		l.term(terms)
	case []*ast.Term:
		for _, t := range terms[1:] { // the first is the operator
			l.term(t)
		}
	case *ast.Every:
		l.term(terms.Domain)
	case *ast.SomeDecl:
		for _, t := range terms.Symbols {
			l.term(t)
		}
	}
}

func (l *looker) term(t *ast.Term) {
	switch v := t.Value.(type) {
	case ast.Ref:
		l.ref(v, t)
	case ast.Var:
		if got, ok := l.locals[v]; ok {
			l.note(string(v), show(got))
		}
	case ast.Call:
		for _, o := range v[1:] {
			l.term(o)
		}
	case *ast.Array:
		v.Foreach(l.term)
	case ast.Set:
		v.Foreach(l.term)
	}
}

func (l *looker) note(name, got string) {
	if name == "" || l.seen[name] || len(l.values) >= maxValues {
		return
	}
	l.seen[name] = true
	l.values = append(l.values, Value{Name: clean(name, maxValue), Got: got})
}

// ref follows a path into the input or the references as far as it goes.
func (l *looker) ref(r ast.Ref, t *ast.Term) {
	for _, part := range r[1:] { // a[b[c]]: b[c] first, it is the claim that is looked up
		if _, ok := part.Value.(ast.String); !ok {
			l.term(part)
		}
	}
	root, ok := r[0].Value.(ast.Var)
	if !ok {
		return
	}
	at := l.roots[root]
	if local, ok := l.locals[root]; ok {
		at = ast.NewTerm(local)
	}
	if at == nil {
		return
	}
	for i, part := range r[1:] {
		key := l.plug(part)
		if key == nil {
			return // not bound here: nothing certain to say
		}
		next := get(at, key)
		if next == nil {
			l.note(written(r, t), missing)
			if root == "data" {
				l.note(r[:i+1].String(), "one of "+known(at))
			}
			return
		}
		at = next
	}
	l.note(written(r, t), show(at.Value))
}

// written gives the reference as it stands in the source.
func written(r ast.Ref, t *ast.Term) string {
	if t.Location != nil && len(t.Location.Text) > 0 && !strings.ContainsAny(string(t.Location.Text), "\n") {
		return string(t.Location.Text)
	}
	return r.String()
}

// plug gives the value of one element of a path, nil when it has none here.
func (l *looker) plug(t *ast.Term) *ast.Term {
	switch v := t.Value.(type) {
	case ast.Var:
		if got, ok := l.locals[v]; ok {
			return ast.NewTerm(got)
		}
		return nil
	case ast.Ref:
		root, ok := v[0].Value.(ast.Var)
		if !ok || l.roots[root] == nil {
			return nil
		}
		at := l.roots[root]
		for _, part := range v[1:] {
			key := l.plug(part)
			if key == nil {
				return nil
			}
			if at = get(at, key); at == nil {
				return nil
			}
		}
		return at
	default:
		if ast.IsScalar(v) {
			return t
		}
		return nil
	}
}

func get(at, key *ast.Term) *ast.Term {
	switch v := at.Value.(type) {
	case ast.Object:
		return v.Get(key)
	case *ast.Array:
		return v.Get(key)
	case ast.Set:
		if v.Contains(key) {
			return key
		}
	}
	return nil
}

// known names what a table of references holds: the nearest thing to "expected".
func known(t *ast.Term) string {
	o, ok := t.Value.(ast.Object)
	if !ok {
		return show(t.Value)
	}
	var names []string
	for _, k := range o.Keys() {
		n := fmt.Sprintf("%.16s", strings.Trim(k.String(), `"`))
		if e, ok := o.Get(k).Value.(ast.Object); ok {
			if label := e.Get(ast.StringTerm("label")); label != nil {
				n += fmt.Sprintf("… (%.24s)", strings.Trim(label.String(), `"`))
			}
		}
		if names = append(names, n); len(names) == 3 && o.Len() > 3 {
			names = append(names, fmt.Sprintf("%d more", o.Len()-3))
			break
		}
	}
	if len(names) == 0 {
		return "an empty table"
	}
	return clean(strings.Join(names, ", "), maxValue-len("one of "))
}
