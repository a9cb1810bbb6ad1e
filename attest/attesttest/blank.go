package attesttest

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
)

// blank empties each text of the body, puts zeros of its length there, and leaves it out.
// (Text of a body is base64url, where A is zero.)
func (c Case) blank(t *testing.T, sound *attest.Result) {
	var doc map[string]any
	if err := json.Unmarshal(c.Evidence.Body, &doc); err != nil {
		t.Fatal(err)
	}
	check := func(what string, optional bool) {
		ev := clone(c.Evidence)
		var err error
		if ev.Body, err = json.Marshal(doc); err != nil {
			t.Fatal(err)
		}
		if res, err := try(t, c.Verifier, ev, c.Expect, what); err == nil && !optional && (c.Harmless == nil || !c.Harmless(sound, res)) {
			t.Errorf("%s: accepted", what)
		}
	}
	var walk func(path string, m map[string]any)
	walk = func(path string, m map[string]any) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			v := m[name]
			at, optional := path+"/"+name, slices.Contains(c.Optional, name)
			switch v := v.(type) {
			case map[string]any:
				walk(at, v)
			case string:
				m[name] = ""
				check(at+" is empty", optional)
				if zeros := strings.Repeat("A", len(v)); zeros != v {
					m[name] = zeros
					check(at+" is zero", false)
				}
			}
			delete(m, name)
			check("without "+at, optional)
			m[name] = v
		}
	}
	walk("", doc)
	whole := clone(c.Evidence)
	whole.Body, _ = json.Marshal(doc)
	if _, err := try(t, c.Verifier, whole, c.Expect, "written again"); err != nil {
		t.Errorf("refused for how it is written, so that the rest shows nothing: %v", err)
	}
}
