package policies

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Bounds of a parsed policy. The compiler is superlinear in each of them.
const (
	maxNodes     = 20_000
	maxBody      = 100 // expressions in one body; the safety check is cubic
	maxLoops     = 4   // nested comprehensions and every
	maxElements  = 256 // of one literal
	maxVariables = 64  // computed parts of one literal
	maxTermDepth = 64
)

const packageName = "release"

// parse reads a policy as Rego v1 with the pinned capabilities.
func parse(name string, src []byte) (*ast.Module, []Diagnostic) {
	m, err := ast.ParseModuleWithOpts(name, string(src), ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: capabilities()})
	var errs ast.Errors
	switch {
	case errors.As(err, &errs) && errs[0].Location != nil && errs[0].Location.Row > 0:
		return nil, diagnose(errs)
	case err != nil, m == nil: // nothing, or only comments
		return nil, []Diagnostic{{Row: 1, Col: 1, Code: "policy_package", Message: "the policy is empty: it must start with `package release`"}}
	}
	return m, nil
}

// checkModule refuses, on the parsed module where positions are still exact, what
// the compiler would accept and the language of release policies does not have.
func checkModule(m *ast.Module) []Diagnostic {
	c := &checker{names: map[string]bool{}, builtins: allowed()}
	if !m.Package.Path.Equal(ast.Ref{ast.DefaultRootDocument, ast.StringTerm(packageName)}) {
		c.bad(m.Package.Location, "policy_package", "the package must be `release`")
	}
	for _, i := range m.Imports {
		if p, ok := i.Path.Value.(ast.Ref); !ok || !p.HasPrefix(referencesRef()) && !p.HasPrefix(ast.InputRootRef) && p.String() != "rego.v1" {
			c.bad(i.Location, "policy_import", "import %v: only input, data.references and rego.v1 may be imported", i.Path)
		}
	}
	for _, r := range m.Rules {
		c.rule(r)
	}
	if !c.names["allow"] {
		c.bad(m.Package.Location, "policy_allow", "the policy must define allow")
	}
	if c.nodes > maxNodes {
		c.bad(m.Package.Location, "policy_size", "the policy has %d parts, limit %d", c.nodes, maxNodes)
	}
	return c.found
}

type checker struct {
	found                     []Diagnostic
	names                     map[string]bool
	builtins                  []string
	nodes, loops, depth, vars int
	literal                   int // literals around this one
}

func (c *checker) bad(at *ast.Location, code, format string, args ...any) {
	d := Diagnostic{Code: code, Message: fmt.Sprintf(format, args...)}
	if at != nil {
		d.Row, d.Col = at.Row, at.Col
	}
	if len(c.found) < maxDiagnostics {
		c.found = append(c.found, d)
	}
}

func (c *checker) rule(rule *ast.Rule) {
	head, ref := rule.Head, rule.Head.Ref()
	name := ref[0].String()
	c.names[name] = true
	switch {
	case (name == "allow" || name == "deny") && len(ref) > 1:
		c.bad(rule.Location, "policy_rule", "%s must be a rule, not a table: write `allow if ...` and `deny contains msg if ...`", name)
	case name == "allow" && (len(head.Args) > 0 || head.RuleKind() != ast.SingleValue):
		c.bad(rule.Location, "policy_allow", "allow must be a boolean: allow if ...")
	case name == "deny" && (len(head.Args) > 0 || head.RuleKind() != ast.MultiValue):
		c.bad(rule.Location, "policy_deny", "deny must be a set of messages: deny contains msg if ...")
	case name == "allow" && rule.Default && !ast.Boolean(false).Equal(head.Value.Value):
		c.bad(rule.Location, "policy_allow", "the default of allow must be false")
	}
	if _, ok := ast.BuiltinMap[ref.String()]; ok || slices.Contains([]string{"input", "data", "rego", "internal"}, name) {
		c.bad(rule.Location, "policy_rule", "%s is a name of the language", ref)
	}
	for r := rule; r != nil; r = r.Else {
		terms := append([]*ast.Term{r.Head.Key, r.Head.Value}, r.Head.Args...)
		if len(r.Head.Reference) > 1 {
			terms = append(terms, r.Head.Reference[1:]...)
		}
		for _, t := range terms {
			if t != nil {
				c.walk(t)
			}
		}
		c.walk(r.Body)
	}
}

func (c *checker) walk(x any) {
	ast.NewBeforeAfterVisitor(c.before, c.after).Walk(x)
}

func (c *checker) before(x any) (skip bool) {
	if c.nodes++; c.nodes > maxNodes {
		return true
	}
	switch x := x.(type) {
	case ast.Body:
		if len(x) > maxBody {
			c.bad(x.Loc(), "policy_size", "more than %d expressions in one body", maxBody)
		}
	case *ast.With:
		c.bad(x.Location, "policy_with", "with is not allowed in a policy")
	case *ast.Expr:
		c.expr(x)
	case *ast.Every:
		c.loop(x.Location, 1)
	case *ast.Term:
		return c.term(x)
	}
	return false
}

func (c *checker) after(x any) {
	switch x := x.(type) {
	case *ast.Every:
		c.loops--
	case *ast.Term:
		c.depth--
		if comprehension(x) {
			c.loops--
		}
		if collection(x.Value) {
			c.literal--
		}
	}
}

func (c *checker) loop(at *ast.Location, n int) {
	if c.loops += n; c.loops == maxLoops+1 {
		c.bad(at, "policy_size", "more than %d nested comprehensions or every", maxLoops)
	}
}

func (c *checker) expr(e *ast.Expr) {
	if !e.IsCall() {
		return
	}
	c.operator(e.Operator(), e.Location)
	if name := e.Operator().String(); (name == "eq" || name == "equal" || name == "assign") && len(e.Operands()) == 2 &&
		computed(e.Operand(0)) && computed(e.Operand(1)) {
		c.bad(e.Location, "policy_rule", "give one of the two literals a name first: both sides of a comparison cannot be built in it")
	}
}

// computed says whether t is a literal with parts that only evaluation gives.
func computed(t *ast.Term) (found bool) {
	if !collection(t.Value) && !comprehension(t) {
		return false
	}
	ast.WalkTerms(t, func(part *ast.Term) bool {
		switch part.Value.(type) {
		case ast.Var, ast.Ref, ast.Call:
			found = true
		}
		return found
	})
	return found || comprehension(t)
}

// operator judges what is called. Undefined functions of the policy's own are the compiler's to report.
func (c *checker) operator(op ast.Ref, at *ast.Location) {
	name := op.String()
	if _, ok := ast.BuiltinMap[name]; ok && !slices.Contains(c.builtins, name) || name == boundName || strings.HasPrefix(name, "rego.") {
		c.bad(at, "policy_builtin", "built-in %s is not allowed in a policy", name) // print is erased by the compiler: allow if print(1) would allow
	}
}

func (c *checker) term(t *ast.Term) (skip bool) {
	if c.depth++; c.depth == maxTermDepth+1 {
		c.bad(t.Location, "policy_size", "terms nested deeper than %d", maxTermDepth)
	}
	if comprehension(t) {
		c.loop(t.Location, 1)
	}
	switch v := t.Value.(type) {
	case ast.Call:
		if op, ok := v[0].Value.(ast.Ref); ok {
			c.operator(op, t.Location)
		}
	case ast.Ref:
		return c.ref(v, t.Location)
	case ast.Var:
		c.variable(t.Location)
	case ast.Number:
		if len(v) > 40 || strings.ContainsAny(string(v), "eE") {
			c.bad(t.Location, "policy_size", "write numbers in at most 40 digits, without exponent")
		}
	default:
		if collection(v) {
			c.collection(t)
		}
	}
	return c.depth > maxTermDepth
}

func (c *checker) ref(r ast.Ref, at *ast.Location) (skip bool) {
	c.variable(at)
	if r[0].Equal(ast.DefaultRootDocument) && !r.HasPrefix(referencesRef()) {
		c.bad(at, "policy_data", "%v: only data.references may be read", r)
	}
	for i, t := range r { // the root variable was judged here
		if _, ok := t.Value.(ast.Var); !ok || i > 0 {
			c.walk(t)
		}
	}
	return true
}

func (c *checker) collection(t *ast.Term) {
	if c.literal == 0 {
		c.vars = 0
	}
	c.literal++
	if n := t.Value.(interface{ Len() int }).Len(); n > maxElements {
		c.bad(t.Location, "policy_size", "more than %d elements in one literal", maxElements)
	}
}

// variable counts the computed parts of a literal: each can be of the largest
// size, and building the literal is one native step.
func (c *checker) variable(at *ast.Location) {
	if c.literal == 0 {
		return
	}
	if c.vars++; c.vars == maxVariables+1 {
		c.bad(at, "policy_size", "more than %d computed parts in one literal", maxVariables)
	}
}
