package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/openskr/openskr"

// file is one Go file of the module and what it imports.
type file struct {
	path    string // relative to the root, with slashes
	pkg     string // folder of path, "" for the root
	test    bool
	imports []string
}

// root is the folder of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}

// tree parses the imports of every Go file. It opens the files itself rather
// than asking `go list`: the test cache notices a file that the test opened and
// changed since, and would otherwise go on saying "ok".
func tree(t *testing.T) []file {
	t.Helper()
	dir := root(t)
	var out []file
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if name := d.Name(); rel != "." && (name == "testdata" || name == "tools" || name == "bin" || strings.HasPrefix(name, ".")) {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); rel != "." && err == nil { // another module
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		got := file{path: rel, pkg: strings.TrimSuffix(path.Dir(rel), "."), test: strings.HasSuffix(rel, "_test.go")}
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			got.imports = append(got.imports, name)
		}
		out = append(out, got)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ours gives the folder of an import of this module.
func ours(imp string) (pkg string, ok bool) {
	return strings.CutPrefix(imp, module+"/")
}

// standard says whether an import is of the standard library: its first element
// has no dot.
func standard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}

// matches says whether a folder is covered by a pattern: exact, or with /...
// the folder and all below it; * stands for one element.
func matches(pattern, pkg string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		n := strings.Count(base, "/") + 1
		parts := strings.Split(pkg, "/")
		if len(parts) < n {
			return false
		}
		return matches(base, strings.Join(parts[:n], "/"))
	}
	ok, err := path.Match(pattern, pkg)
	return ok && err == nil
}
