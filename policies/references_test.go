package policies

import (
	"encoding/json"
	"fmt"
	"math"
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
