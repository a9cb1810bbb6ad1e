package policies

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
)

func TestReferencesAreBounded(t *testing.T) {
	e := engine(t)
	deep := any("x")
	for range maxReferenceDepth {
		deep = map[string]any{"a": deep}
	}
	big := map[string]any{}
	for i := range 70 {
		big[fmt.Sprint(i)] = string(make([]byte, 1<<20))
	}
	for name, refs := range map[string]map[string]any{
		"deep": {"a": deep}, "type": {"a": struct{}{}}, "channel": {"a": make(chan int)}, "infinite": {"a": math.Inf(1)}, "large": big,
	} {
		if err := e.SetReferences(refs); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	// the old ones stay
	p := policy(preamble + `allow if data.references.web.pcr4[input.claims.tpm.pcrs.sha256["4"]].label == "image 1"`)
	if d, err := e.Evaluate(t.Context(), p, input(nil)); !d.Allow || err != nil {
		t.Errorf("%+v %v", d, err)
	}
	if err := e.SetReferences(map[string]any{"web": map[string]any{"n": json.Number("9007199254740993")}}); err != nil {
		t.Fatal(err)
	}
	if d, err := e.Evaluate(t.Context(), policy(preamble+"allow if data.references.web.n == 9007199254740993"), input(nil)); !d.Allow || err != nil {
		t.Errorf("%+v %v", d, err)
	}
	if d, err := e.Evaluate(t.Context(), p, input(nil)); d.Allow || err != nil {
		t.Errorf("removed reference: %+v %v", d, err)
	}
}

// An evaluation sees one version of the references from its start to its end, and
// what the caller does to the map afterwards changes nothing.
func TestReferencesAreSwappedWhole(t *testing.T) {
	e := engine(t)
	p := policy(preamble + "allow if {\n\tdata.references.a.x == data.references.b.x\n\tevery k, _ in data.references { data.references[k].x == data.references.a.x }\n}")
	set := func(n int64) {
		refs := map[string]any{"a": map[string]any{"x": n}, "b": map[string]any{"x": n}}
		if err := e.SetReferences(refs); err != nil {
			t.Error(err)
		}
		refs["a"] = "changed"
	}
	set(0)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if d, err := e.Evaluate(t.Context(), p, input(nil)); !d.Allow || err != nil {
					t.Errorf("%+v %v", d, err)
					return
				}
			}
		})
	}
	for i := range int64(100) {
		set(i)
	}
	wg.Wait()
}

// A decision says which references it could read: the same document gives the
// same digest, an empty one none, and a refusal has it too.
func TestDecisionNamesItsReferences(t *testing.T) {
	e := engine(t)
	digest := func(refs map[string]any, src string) string {
		t.Helper()
		if err := e.SetReferences(refs); err != nil {
			t.Fatal(err)
		}
		d, _ := e.Evaluate(t.Context(), policy(preamble+src), input(nil))
		return d.References.String()
	}
	doc := func(label string) map[string]any {
		return map[string]any{"web": map[string]any{"pcr4": map[string]any{"00": map[string]any{"label": label, "until": int64(9)}}}}
	}
	sum := sha256.Sum256([]byte(`{"web":{"pcr4":{"00":{"label":"<a>","until":9}}}}`))
	if got := digest(doc("<a>"), "allow if true"); got != hex.EncodeToString(sum[:]) {
		t.Errorf("digest %s, want %x", got, sum)
	}
	if digest(doc("<a>"), "allow if 1 == 2") != hex.EncodeToString(sum[:]) || digest(doc("<a>"), "allow := 1 if true") != hex.EncodeToString(sum[:]) {
		t.Error("a refusal does not name them")
	}
	if digest(doc("b"), "allow if true") == hex.EncodeToString(sum[:]) {
		t.Error("another document has the same digest")
	}
	if none := digest(nil, "allow if true"); none != strings.Repeat("0", 64) {
		t.Errorf("no references have digest %s", none)
	}
}

// TestLookupCostsOneStep: ten thousand references cost a decision what one does.
func TestLookupCostsOneStep(t *testing.T) {
	e := engine(t)
	p := policy(preamble + `allow if data.references.web.pcr4[input.claims.tpm.pcrs.sha256["4"]].until > input.request.time`)
	steps := func(n int) int64 {
		t.Helper()
		in := input(nil)
		pcr4 := in.Claims["tpm"].(map[string]any)["pcrs"].(map[string]any)["sha256"].(map[string]any)["4"].(string)
		values := map[string]any{pcr4: map[string]any{"label": "x", "until": int64(253402300799)}}
		for i := len(values); i < n; i++ {
			values[fmt.Sprintf("%064x", i)] = map[string]any{"label": "other", "until": int64(1)}
		}
		if err := e.SetReferences(map[string]any{"web": map[string]any{"pcr4": values}}); err != nil {
			t.Fatal(err)
		}
		prog, err := e.program(p)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := document(in)
		if err != nil {
			t.Fatal(err)
		}
		r := e.run(t.Context(), prog, doc, e.limits, nil)
		if r.err != nil || !r.decision.Allow {
			t.Fatalf("%+v", r)
		}
		return r.steps
	}
	if one, many := steps(1), steps(10_000); one != many {
		t.Errorf("%d steps with one reference, %d with 10 000", one, many)
	}
}
