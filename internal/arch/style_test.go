package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every package says what it is, and none hides work in init or in a folder
// whose name says nothing.
func TestPackages(t *testing.T) {
	dir := root(t)
	documented := map[string]bool{}
	for _, f := range tree(t) {
		if f.test {
			continue
		}
		a, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, f.path), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		documented[f.pkg] = documented[f.pkg] || a.Doc != nil
		for _, d := range a.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init: what runs before main cannot be tested or ordered", f.path)
			}
		}
		for _, bad := range []string{"util", "utils", "common", "helper", "helpers", "misc"} {
			if strings.HasSuffix("/"+f.pkg, "/"+bad) {
				t.Errorf("%s: a folder named %s has no subject", f.path, bad)
			}
		}
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("%s: no package comment", pkg)
		}
	}
}

// No setting turns a check off (I4, CC-12).
func TestNoInsecureSetting(t *testing.T) {
	for _, fn := range functions(t) {
		ast.Inspect(fn.decl, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text := strings.Trim(lit.Value, "`\"")
			for _, bad := range []string{"insecure", "skip-", "no-verify"} {
				if strings.HasPrefix(strings.ToLower(text), bad) {
					t.Errorf("%s: %q: what is not verified is denied; no setting changes that", fn.file, text)
				}
			}
			return true
		})
	}
}

// No reason is listed, and so documented, that nothing gives.
func TestEveryReasonIsGiven(t *testing.T) {
	const list = "release/reason.go"
	read := func(path string) string {
		b, err := os.ReadFile(filepath.Join(root(t), path))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	given, name := map[string]bool{}, regexp.MustCompile(`\bReason[A-Z]\w+`)
	for _, f := range tree(t) {
		if f.test || f.path == list {
			continue
		}
		for _, reason := range name.FindAllString(read(f.path), -1) {
			given[reason] = true
		}
	}
	listed := regexp.MustCompile(`(?m)^\t(Reason\w+) +Reason += "`).FindAllStringSubmatch(read(list), -1)
	for _, m := range listed {
		if !given[m[1]] {
			t.Errorf("%s: %s is given nowhere", list, m[1])
		}
	}
	if len(listed) < 50 {
		t.Errorf("only %d reasons found in %s", len(listed), list)
	}
}
