package policies

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/openskr/openskr/release"
)

// golden is what one policy gave for one input.
type golden struct {
	Input    string         `json:"input"`
	Allow    bool           `json:"allow"`
	Reason   release.Reason `json:"reason,omitempty"`
	Messages []string       `json:"messages,omitempty"`
	Error    string         `json:"error,omitempty"`
	Steps    int64          `json:"steps"`
	Bytes    int64          `json:"bytes"`
}

// TestGolden holds this build to decisions of earlier ones (RP-28): a new OPA, a
// new Go or a change of the engine that decides anything differently, says it
// differently or needs another number of steps fails here. `go test -update`
// writes testdata/golden/want.json anew; its diff is what to judge.
func TestGolden(t *testing.T) {
	sequential(t)
	dir := filepath.Join("testdata", "golden")
	var inputs []struct {
		Name  string          `json:"name"`
		Input json.RawMessage `json:"input"`
	}
	var refs map[string]any
	readFixture(t, filepath.Join(dir, "inputs.json"), &inputs)
	readFixture(t, filepath.Join(dir, "references.json"), &refs)
	e := engine(t)
	if err := e.SetReferences(refs); err != nil {
		t.Fatal(err)
	}
	got, n := map[string][]golden{}, 0
	for name, p := range goldenPolicies(t, dir) {
		prog, err := e.program(p)
		if err != nil {
			t.Fatal(name, err)
		}
		for _, in := range inputs {
			doc, err := stored(in.Input)
			if err != nil {
				t.Fatal(in.Name, err)
			}
			r := e.run(t.Context(), prog, doc, e.limits, nil)
			g := golden{Input: in.Name, Allow: r.decision.Allow, Reason: r.decision.Reason, Messages: r.decision.Messages, Steps: r.steps, Bytes: r.bytes}
			if r.err != nil {
				g.Error = r.err.Error()
			}
			got[name] = append(got[name], g)
			n++
		}
	}
	if n < 1000 {
		t.Errorf("only %d decisions", n)
	}
	path := filepath.Join(dir, "want.json")
	if *update {
		b, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string][]golden{}
	readFixture(t, path, &want)
	compareGolden(t, got, want)
}

var update = flag.Bool("update", false, "write testdata/golden/want.json anew")

func goldenPolicies(t *testing.T, dir string) map[string]release.ReleasePolicy {
	t.Helper()
	out := map[string]release.ReleasePolicy{}
	for _, r := range Library() {
		out["library/"+r.Name] = policy(string(r.Source))
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.rego"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(f)] = policy(string(b))
	}
	return out
}

func compareGolden(t *testing.T, got, want map[string][]golden) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d policies, want %d", len(got), len(want))
	}
	allowed := 0
	for name := range got {
		if len(got[name]) != len(want[name]) {
			t.Errorf("%s: %d decisions, want %d", name, len(got[name]), len(want[name]))
			continue
		}
		for i, g := range got[name] {
			if !reflect.DeepEqual(g, want[name][i]) {
				t.Errorf("%s:\n got %s\nwant %s", name, fmt.Sprintf("%+v", g), fmt.Sprintf("%+v", want[name][i]))
			}
			if g.Allow {
				allowed++
			}
		}
	}
	if allowed == 0 {
		t.Error("nothing is ever allowed")
	}
}

func readFixture(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(path, err)
	}
}
