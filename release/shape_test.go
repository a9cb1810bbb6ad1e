package release_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"

	"github.com/openskr/openskr/release"
	rt "github.com/openskr/openskr/release/releasetest"
)

func TestNewWantsEveryPart(t *testing.T) {
	for name, drop := range map[string]func(*release.Config){
		"deployment": func(c *release.Config) { c.Deployment = "" }, "settings": func(c *release.Config) { c.Settings = nil },
		"anchors": func(c *release.Config) { c.Anchors = nil }, "key URLs": func(c *release.Config) { c.ParseKID = nil },
		"challenges": func(c *release.Config) { c.Challenges = nil }, "keys": func(c *release.Config) { c.Keys = nil },
		"machines": func(c *release.Config) { c.Machines = nil }, "verifier": func(c *release.Config) { c.Verifier = nil },
		"policy": func(c *release.Config) { c.Policy = nil }, "log": func(c *release.Config) { c.Log = nil },
		"wrapper": func(c *release.Config) { c.Wrapper = nil }, "signer": func(c *release.Config) { c.Signer = nil },
		"clock": func(c *release.Config) { c.Now = nil },
	} {
		c := rt.NewPorts().Config()
		drop(&c)
		if _, err := release.New(c); err == nil {
			t.Errorf("a broker without %s", name)
		}
	}
}

// TestReleaseStaysShort: the one function a newcomer reads.
func TestReleaseStaysShort(t *testing.T) {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "broker.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Name.Name != "Release" {
			continue
		}
		found = true
		if lines := set.Position(fn.End()).Line - set.Position(fn.Pos()).Line + 1; lines >= 60 {
			t.Errorf("Broker.Release has %d lines, keep it under 60", lines)
		}
	}
	if !found {
		t.Error("broker.go has no Release")
	}
}
