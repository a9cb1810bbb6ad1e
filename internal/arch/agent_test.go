package arch

import (
	"go/build"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	gomodule "golang.org/x/mod/module"
)

// What the agent's program must never link, and why.
var notInAgent = []struct{ prefix, reason string }{
	{"github.com/open-policy-agent/", "policies are evaluated by the broker"},
	{"modernc.org/", "the agent has no database"},
	{"database/sql", "the agent has no database"},
	{"github.com/labstack/", "the agent serves nothing"},
	{"google.golang.org/grpc", "the agent speaks plain HTTPS"},
	{"google.golang.org/protobuf", "the agent's evidence is JSON; protobuf costs megabytes"},
	{"text/template", "it defeats the linker's dead code elimination"},
	{"html/template", "it defeats the linker's dead code elimination"},
	{"github.com/spf13/", "cobra pulls in text/template"},
	{"github.com/google/go-tpm-tools", "it pulls in protobuf and verifiers"},
	{"github.com/google/go-eventlog", "event logs are read by the verifier"},
	{"github.com/lestrrat-go/", "the agent checks one ES256 signature, with the standard library"},
	{module + "/internal/jose", "the agent checks one ES256 signature, with the standard library"},
	{module + "/policies", "policies are evaluated by the broker"},
	{module + "/internal/simulate", "the agent asks simulated hardware and plays none"},
}

func notForAgent(imp string) (reason string, bad bool) {
	for _, n := range notInAgent {
		if imp == strings.TrimSuffix(n.prefix, "/") || strings.HasPrefix(imp, strings.TrimSuffix(n.prefix, "/")+"/") {
			return n.reason, true
		}
	}
	tee, ok := strings.CutPrefix(imp, module+"/attest/")
	if ok && tee != "binding" && !strings.HasSuffix(tee, "/format") && !strings.HasSuffix(tee, "/guest") {
		return "the agent collects, the broker verifies, and nothing in it forges", true
	}
	return "", false
}

// TestAgentClosure walks everything that cmd/openskr-agent links on Linux,
// through the sources in the module cache.
func TestAgentClosure(t *testing.T) {
	dir := root(t)
	const start = module + "/cmd/openskr-agent"
	w := walker{t: t, root: dir, ctx: build.Default, via: map[string]string{start: ""}}
	w.ctx.GOOS, w.ctx.GOARCH, w.ctx.CgoEnabled = "linux", "amd64", false
	w.modules()
	w.visit(start)
	for imp := range w.via {
		if reason, bad := notForAgent(imp); bad {
			t.Errorf("the agent links %s: %s\n\timported through %s", imp, reason, w.path(imp))
		}
	}
	if len(w.via) < 50 {
		t.Errorf("only %d packages found: the walk is broken", len(w.via))
	}
}

func TestNotForAgent(t *testing.T) {
	for imp, bad := range map[string]bool{
		module + "/attest/tpm":                  true,
		module + "/attest/all":                  true,
		module + "/attest/snp/simulated":        true,
		module + "/attest/dcap":                 true,
		module + "/attest/binding":              false,
		module + "/attest":                      false,
		module + "/attest/tpm/guest":            false,
		module + "/attest/tpm/format":           false,
		"text/template":                         true,
		"text/template/parse":                   true,
		"text/tabwriter":                        false,
		"google.golang.org/grpc/codes":          true,
		"github.com/open-policy-agent/opa/rego": true,
	} {
		if _, got := notForAgent(imp); got != bad {
			t.Errorf("%s: refused %v, want %v", imp, got, bad)
		}
	}
}

// walker follows imports. via says who imported a package first.
type walker struct {
	t     *testing.T
	root  string
	ctx   build.Context
	cache string
	mods  []*modfile.Require
	via   map[string]string
}

func (w *walker) modules() {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.root, "go.mod"))
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := modfile.Parse("go.mod", b, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		w.t.Fatal(err)
	}
	w.mods, w.cache = f.Require, strings.TrimSpace(string(out))
}

func (w *walker) visit(imp string) {
	p, err := w.ctx.ImportDir(w.dir(imp), 0)
	if err != nil {
		w.t.Fatalf("%s: %v", w.path(imp), err)
	}
	for _, next := range p.Imports {
		if standard(imp) && !standard(next) {
			next = "vendor/" + next // the standard library has its own copy of golang.org/x/…
		}
		if _, seen := w.via[next]; seen || next == "C" || next == "unsafe" {
			continue
		}
		w.via[next] = imp
		w.visit(next)
	}
}

// dir is the folder of a package's source.
func (w *walker) dir(imp string) string {
	w.t.Helper()
	if pkg, ok := ours(imp); ok {
		return filepath.Join(w.root, filepath.FromSlash(pkg))
	}
	if standard(imp) {
		return filepath.Join(w.ctx.GOROOT, "src", imp)
	}
	var best *modfile.Require
	for _, m := range w.mods {
		if (imp == m.Mod.Path || strings.HasPrefix(imp, m.Mod.Path+"/")) && (best == nil || len(m.Mod.Path) > len(best.Mod.Path)) {
			best = m
		}
	}
	if best == nil {
		w.t.Fatalf("%s (imported through %s): go.mod names no module for it", imp, w.path(imp))
	}
	escaped, err := gomodule.EscapePath(best.Mod.Path)
	if err != nil {
		w.t.Fatal(err)
	}
	return filepath.Join(w.cache, escaped+"@"+best.Mod.Version, filepath.FromSlash(strings.TrimPrefix(imp, best.Mod.Path)))
}

// path is the chain of imports that led to imp.
func (w *walker) path(imp string) string {
	chain := imp
	for at := w.via[imp]; at != ""; at = w.via[at] {
		chain = at + " → " + chain
	}
	return chain
}
