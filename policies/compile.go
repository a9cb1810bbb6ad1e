package policies

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/types"
)

const policyFile = "policy.rego"

// capabilities pins the language: Rego v1, our built-ins with their present
// types, no later keywords or features, no network for schemas.
func capabilities() *ast.Capabilities {
	c := &ast.Capabilities{Features: []string{ast.FeatureRegoV1}, AllowNet: []string{}}
	for _, name := range allowed() {
		c.Builtins = append(c.Builtins, ast.BuiltinMap[name])
	}
	c.Builtins = append(c.Builtins, boundBuiltin().Decl)
	slices.SortFunc(c.Builtins, func(a, b *ast.Builtin) int { return strings.Compare(a.Name, b.Name) })
	return c
}

func newCompiler(claims map[string]any) *ast.Compiler {
	schemas := ast.NewSchemaSet()
	schemas.Put(ast.SchemaRootRef, inputSchema(claims))
	return ast.NewCompiler().WithCapabilities(capabilities()).WithStrict(true).WithSchemas(schemas).
		WithDefaultRegoVersion(ast.RegoV1).SetErrorLimit(20).
		WithStageAfterID(ast.StageRewriteDynamicTerms, ast.CompilerStageDefinition{
			Name: "OpenSKRBound", MetricName: "openskr_bound", Stage: boundStage,
		})
}

// program is a compiled policy: immutable and safe for concurrent use. Each has
// a compiler of its own, so no policy can see, extend or replace another.
type program struct {
	compiler *ast.Compiler
	queries  ast.QueryCompiler
	query    ast.Body
	builtins map[string]*topdown.Builtin
	deny     bool // the policy has deny rules
	tcb      bool // the policy names the TCB status
	warnings []Diagnostic
	origin   *origin // nil: the policy was written in Rego
}

// inspect does what needs no compiler: text, syntax, language, lint. It is
// bounded by the size of src. A nil module means refused.
func inspect(src []byte) (*ast.Module, []Diagnostic) {
	if found := checkSource(src); len(found) > 0 {
		return nil, found
	}
	m, found := parse(policyFile, src)
	if m == nil {
		return nil, found
	}
	if found = checkModule(m); len(found) > 0 {
		return nil, found
	}
	return m, lint(m)
}

// compile inspects and compiles src. It cannot be interrupted and can be
// exponential: the first time of every policy is in the child (Check).
func compile(src []byte, claims map[string]any) (*program, []Diagnostic) {
	m, found := inspect(src)
	if m == nil {
		return nil, found
	}
	c := newCompiler(claims)
	if c.Compile(map[string]*ast.Module{policyFile: m}); c.Failed() {
		return nil, append(found, diagnose(c.Errors)...)
	}
	p := &program{compiler: c, queries: c.QueryCompiler(), warnings: found, builtins: map[string]*topdown.Builtin{boundName: boundBuiltin()}}
	for _, r := range m.Rules {
		p.deny = p.deny || r.Head.Ref().String() == "deny"
		ast.WalkRefs(r, func(ref ast.Ref) bool {
			p.tcb = p.tcb || namesTCB(ref)
			return false
		})
	}
	if d := p.checkAllow(m); d != nil {
		return nil, append(found, *d)
	}
	query := "allow = data.release.allow" // constant: nothing of a policy or a request is part of it
	if p.deny {
		query += "; deny = data.release.deny"
	}
	body, err := ast.ParseBodyWithOpts(query, ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: capabilities()})
	if err == nil {
		p.query, err = p.queries.Compile(body)
	}
	if err != nil {
		return nil, append(found, Diagnostic{Code: "policy_query", Message: err.Error()})
	}
	return p, found
}

// checkAllow refuses a policy whose allow can never be a boolean.
func (p *program) checkAllow(m *ast.Module) *Diagnostic {
	t := p.compiler.TypeEnv.GetByRef(ast.Ref{ast.DefaultRootDocument, ast.StringTerm(packageName), ast.StringTerm("allow")})
	if t == nil || types.Compare(t, types.B) == 0 || types.Compare(t, types.A) == 0 {
		return nil
	}
	if _, ok := t.(types.Any); ok { // a union; what it gives is judged at run time
		return nil
	}
	d := &Diagnostic{Code: "policy_allow", Message: fmt.Sprintf("allow must be a boolean, this is a %s", t)}
	for _, r := range m.Rules {
		if r.Head.Ref().String() == "allow" && !r.Default {
			d.Row, d.Col = r.Location.Row, r.Location.Col
			break
		}
	}
	return d
}

func referencesRef() ast.Ref {
	return ast.Ref{ast.DefaultRootDocument, ast.StringTerm(referencesName)}
}
