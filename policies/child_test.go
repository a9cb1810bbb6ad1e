package policies

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
)

// Programs that take the compiler exponential time or memory.
func TestCompileBombs(t *testing.T) {
	sequential(t)
	e := engine(t)
	doubled := "a0 := [input.claims.level]\n"
	for i := range 28 {
		doubled += fmt.Sprintf("a%d := [a%d, a%d]\n", i+1, i, i)
	}
	var chain strings.Builder
	for i := range 90 {
		fmt.Fprintf(&chain, "\tx%d = x%d\n", i, i+1)
	}
	for _, tt := range []struct{ name, src string }{
		{"doubled types", doubled + "allow if a28 == 1"},
		{"error message", doubled + "allow if startswith(a28, \"x\")"},
		{"long bodies", strings.Repeat("p if {\n"+chain.String()+"\tx90 = 1\n}\n", 30) + "allow if p"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ds := diagnostics(t, e.Check(t.Context(), policy(preamble+tt.src)))
			if code := ds[len(ds)-1].Code; code != "policy_cost" && ds[0].Code != "policy_cost" {
				t.Errorf("got %v", ds)
			}
			if err := e.Check(t.Context(), policy(preamble+"allow if true")); err != nil {
				t.Errorf("the next upload: %v", err)
			}
		})
	}
}

func TestDearPoliciesAreRefused(t *testing.T) {
	for _, tt := range []struct {
		cpu   time.Duration
		alloc uint64
		dear  bool
	}{{maxCompileTime, maxCompileAlloc, false}, {maxCompileTime + 1, 0, true}, {0, maxCompileAlloc + 1, true}} {
		if d := dear(tt.cpu, tt.alloc); (d != nil) != tt.dear {
			t.Errorf("%v %d: %v", tt.cpu, tt.alloc, d)
		}
	}
	// One that ends by itself, after allocating more than a policy may.
	var doubled strings.Builder
	for _, c := range []string{"a", "b"} {
		fmt.Fprintf(&doubled, "%s0 := [input.claims.level]\n", c)
		for i := range 12 {
			fmt.Fprintf(&doubled, "%s%d := [%s%d, %s%d]\n", c, i+1, c, i, c, i)
		}
	}
	found := measured(task{Claims: claimsSchema(), Source: []byte(preamble + doubled.String() + "allow if a12 == b12")})
	if d := found[len(found)-1]; d.Code != "policy_cost" {
		t.Errorf("got %v", found)
	}
}

func TestChildThatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	script := func(name, body string) []string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
			t.Fatal(err)
		}
		return []string{path}
	}
	for _, tt := range []struct {
		name   string
		argv   []string
		reason release.Reason
	}{
		{"none", nil, release.ReasonInternal},
		{"absent", []string{"/nonexistent"}, release.ReasonInternal},
		{"fails at once", []string{"/bin/false"}, release.ReasonInternal},
		{"says nothing", []string{"/bin/true"}, release.ReasonInternal},
		{"says something else", script("a", "echo hello"), release.ReasonInternal},
		{"ready and nothing", script("b", "echo ready"), release.ReasonInternal},
		{"ready and not JSON", script("c", "echo ready; echo x"), release.ReasonInternal},
		{"unknown members", script("d", `echo ready; echo '{"allowed":true}'`), release.ReasonInternal},
		{"malformed diagnostic", script("e", `echo ready; echo '{"diagnostics":[{"row":-1,"col":0,"code":"x","message":"y","severity":"warning"}]}'`), release.ReasonInternal},
		{"no severity", script("f", `echo ready; echo '{"diagnostics":[{"row":1,"col":0,"code":"x","message":"y","severity":""}]}'`), release.ReasonInternal},
		{"dies after ready", script("g", "echo ready; kill -9 $$"), release.ReasonPolicyInvalid},
		{"writes without end", script("h", "echo ready; while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"), release.ReasonPolicyInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := New(Config{Compiler: tt.argv})
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Check(t.Context(), policy(preamble+"allow if true")); release.ReasonOf(err) != tt.reason || err == nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A machine too busy to run the child is not the policy's fault.
func TestStarvedChildIsOverload(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := runChild(ctx, []string{"/bin/sleep", "60"}, task{}, checkWait)
	if release.ReasonOf(err) != release.ReasonOverloaded {
		t.Errorf("got %v", err)
	}
	e := engine(t)
	for range maxChildren {
		e.children <- struct{}{}
	}
	if err := e.Check(ctx, policy(preamble+"allow if true")); release.ReasonOf(err) != release.ReasonOverloaded {
		t.Errorf("no slot: %v", err)
	}
}

// The child's limits, seen from inside one.
func TestChildIsConfined(t *testing.T) {
	if childData > 1<<40 {
		t.Skip("the race detector needs more memory than the child may have")
	}
	run := func(what string) (string, error) {
		cmd := exec.Command("/proc/self/exe", probeArg, what)
		cmd.Env = []string{}
		out, err := cmd.Output()
		return string(out), err
	}
	got, err := run("limits")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"data 268435456", "file size 0", "core 0", "open files 16", "cpu 1", "no new privileges 1"} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for _, what := range []string{"memory", "cpu", "stack"} {
		if got, err := run(what); err == nil || strings.Contains(got, "survived") {
			t.Errorf("%s: survived", what)
		}
	}
}

func TestServeRefuses(t *testing.T) {
	none := func(uint64) error { return nil }
	for name, in := range map[string]string{
		"empty": "", "not JSON": "x", "unknown member": `{"sources":""}`, "two": `{} {}`, "duplicate": `{"source":"","source":""}`,
		"too long": strings.Repeat(" ", maxTask+1),
	} {
		var out bytes.Buffer
		if err := serve(strings.NewReader(in), &out, none); err == nil || out.Len() > 0 {
			t.Errorf("%s: %v %q", name, err, out.String())
		}
	}
	var out bytes.Buffer
	if err := serve(strings.NewReader("{}"), &out, func(uint64) error { return errors.New("no limit") }); err == nil || out.Len() > 0 {
		t.Errorf("without a limit: %v %q", err, out.String())
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte(ready + `{}`))
	f.Add([]byte(ready + `{"diagnostics":[{"row":1,"col":2,"code":"a","message":"b","severity":"error"}]}`))
	f.Add([]byte(ready + `{"report":{"tests":[{"file":"a","name":"b","row":1,"outcome":"pass","steps":3}],"coverage":[]}}`))
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := readAnswer(b)
		if err != nil {
			return
		}
		if len(a.Diagnostics) > maxDiagnostics {
			t.Error("too many diagnostics")
		}
		for _, d := range a.Diagnostics {
			if len(d.Message) > maxMessage || d.Row < 0 || d.Col < 0 || d.Severity != SeverityError && d.Severity != SeverityWarning {
				t.Errorf("%+v", d)
			}
		}
	})
}

func FuzzServe(f *testing.F) {
	_ = engine(f)
	f.Add([]byte(`{"claims":{"type":"object"},"source":"cGFja2FnZSB4"}`))
	f.Add([]byte(`{"source":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		stop := errors.New("before the compiler, which is not bounded here")
		if err := serve(bytes.NewReader(b), &out, func(uint64) error { return stop }); err == nil || out.Len() > 0 {
			t.Errorf("%v %q", err, out.String())
		}
	})
}

// What the compiler is not needed for must survive any source.
func FuzzInspect(f *testing.F) {
	_ = engine(f)
	for _, r := range Library() {
		f.Add(r.Source)
	}
	f.Add([]byte(preamble + `allow if every x in [1, "a\"b", {"a": 1}] { not x }`))
	f.Add([]byte("package release\nallow := `raw {{{` # c"))
	f.Fuzz(func(t *testing.T, src []byte) {
		m, found := inspect(src)
		if m == nil && len(found) == 0 {
			t.Error("refused without a reason")
		}
		for _, d := range tidy(found) {
			if (m == nil) != (d.Severity == SeverityError) || d.Code == "" || d.Message == "" {
				t.Errorf("%+v", d)
			}
		}
	})
}
