package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"testing"
)

// Budgets. A file above its budget is split by what it does, not by its length;
// a table (a list of values, each on its line) may grow.
const (
	maxFile     = 450
	maxFunction = 60
	maxRelease  = 60 // Broker.Release: the product in one function
)

// tables are exempt from maxFile.
var tables = map[string]string{}

func TestFileSizes(t *testing.T) {
	dir := root(t)
	for _, f := range tree(t) {
		b, err := os.ReadFile(filepath.Join(dir, f.path))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(b, []byte("\n")); n > maxFile && tables[f.path] == "" {
			t.Errorf("%s has %d lines, budget %d: split it by what it does", f.path, n, maxFile)
		}
	}
}

func TestFunctionSizes(t *testing.T) {
	found := false
	for _, fn := range functions(t) {
		limit, why := maxFunction, "a function does one thing"
		if fn.pkg == "release" && fn.name == "Broker.Release" {
			found, limit, why = true, maxRelease-1, "a newcomer reads it to understand the product"
		}
		if fn.lines > limit {
			t.Errorf("%s: %s has %d lines, budget %d: %s", fn.file, fn.name, fn.lines, limit, why)
		}
	}
	if !found {
		t.Error("release.Broker.Release not found: where is the product?")
	}
}

// function is one declared function of non-test code.
type function struct {
	file, pkg, name string
	lines           int
	decl            *ast.FuncDecl
}

func functions(t *testing.T) []function {
	t.Helper()
	dir := root(t)
	var out []function
	for _, f := range tree(t) {
		if f.test {
			continue
		}
		fset := token.NewFileSet()
		a, err := parser.ParseFile(fset, filepath.Join(dir, f.path), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range a.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				out = append(out, function{f.path, f.pkg, name(fn), fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1, fn})
			}
		}
	}
	return out
}

// name is "Function" or "Type.Method".
func name(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	recv := fn.Recv.List[0].Type
	if star, ok := recv.(*ast.StarExpr); ok {
		recv = star.X
	}
	if generic, ok := recv.(*ast.IndexExpr); ok {
		recv = generic.X
	}
	if id, ok := recv.(*ast.Ident); ok {
		return id.Name + "." + fn.Name.Name
	}
	return fn.Name.Name
}
