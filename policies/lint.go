package policies

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// lint warns of what is legal and usually wrong.
func lint(m *ast.Module) []Diagnostic {
	l := &linter{pcrs: map[string]bool{}}
	for _, rule := range m.Rules {
		deny := rule.Head.Ref().String() == "deny"
		ast.WalkExprs(rule, func(e *ast.Expr) bool {
			l.expr(e, deny)
			return false
		})
		ast.WalkRefs(rule, func(r ast.Ref) bool {
			l.ref(r)
			return false
		})
	}
	at := m.Package.Location
	switch {
	case len(l.pcrs) == 0:
		l.warn(at, "lint_no_pcr", "no PCR is part of the policy: any boot of the machine passes")
	case !l.pcrs["12"] && !l.pcrs["*"]:
		l.warn(at, "lint_pcr_12", "PCR 12 is not part of the policy: the command line and other load options could be anything")
	}
	return l.found
}

type linter struct {
	pcrs  map[string]bool // compared somewhere; "*": all, by a variable
	found []Diagnostic
}

func (l *linter) warn(at *ast.Location, code, message string) {
	l.found = append(l.found, Diagnostic{Row: at.Row, Col: at.Col, Code: code, Message: message, Severity: SeverityWarning})
}

func (l *linter) expr(e *ast.Expr, deny bool) {
	for _, t := range operands(e) {
		switch {
		case !claim(t):
		case e.Negated:
			l.warn(e.Location, "lint_negated_claim", "`not` holds when "+t.String()+" is missing: compare it with == false, or give it a name (x := ...) before")
			return
		case deny && e.IsCall() && !e.IsAssignment():
			l.warn(e.Location, "lint_deny_claim", "does not deny when "+t.String()+" is missing: demand the good value in allow as well")
			return
		}
	}
}

func operands(e *ast.Expr) []*ast.Term {
	switch terms := e.Terms.(type) {
	case *ast.Term:
		return []*ast.Term{terms}
	case []*ast.Term:
		return terms[1:]
	}
	return nil
}

func claim(t *ast.Term) bool {
	r, ok := t.Value.(ast.Ref)
	return ok && strings.HasPrefix(r.String(), "input.claims.")
}

// ref notes input.claims.…pcrs.<bank>[i].
func (l *linter) ref(r ast.Ref) {
	for i, t := range r {
		if i == 0 || !t.Equal(ast.StringTerm("pcrs")) || len(r) <= i+2 {
			continue
		}
		if s, ok := r[i+2].Value.(ast.String); ok {
			l.pcrs[string(s)] = true
		} else {
			l.pcrs["*"] = true
		}
	}
}
