package policies

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/openskr/openskr/attest"
)

// The same policy and input give the same bytes, from any goroutine and from any
// order in which the input was made.
func TestDeterministicAndConcurrent(t *testing.T) {
	e := engine(t)
	src := "allow if input.claims.level >= 3\nallow if every x in input.claims.list { startswith(x, \"e\"); count(x) < 3 }\n" +
		"deny contains sprintf(\"%v %s\", [k, v]) if some k, v in input.claims.free\ndeny contains \"z\" if some x in input.claims.list; x == \"e7\""
	once := func(offset int) string {
		free := map[string]any{}
		var list []any
		for i := range 40 {
			free[fmt.Sprint("c", (i*37+offset)%40)] = fmt.Sprint("v", (i*37+offset)%40)
			list = append(list, fmt.Sprint("e", i))
		}
		in := input(attest.Claims{"free": free, "list": list})
		prog, err := e.program(policy(preamble + src))
		if err != nil {
			return err.Error()
		}
		doc, err := document(in)
		if err != nil {
			return err.Error()
		}
		r := e.run(t.Context(), prog, doc, e.limits, nil)
		stored, err := json.Marshal(in)
		if err != nil {
			return err.Error()
		}
		x, err := e.Explain(t.Context(), policy(preamble+src), stored)
		return fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, r, x, err)))
	}
	want := once(0)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 10 {
				if got := once(g*10 + i); got != want {
					t.Error("another result")
				}
			}
		})
	}
	wg.Wait()
}

// RP-18: with one policy replaced by another while both are evaluated, each
// decision is the one its own text gives. One compilation serves all who wait.
func TestManyPoliciesAtOnce(t *testing.T) {
	e := engine(t)
	e.cache = newCache(4)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 40 {
				n := (g + i) % 10
				p := policy(fmt.Sprintf("%sallow if input.claims.level == 2\ndeny contains \"%d\" if %d > 4", preamble, n, n))
				d, err := e.Evaluate(t.Context(), p, input(nil))
				if err != nil || d.Allow != (n <= 4) || !d.Allow && d.Messages[0] != fmt.Sprint(n) {
					t.Errorf("%d: %+v %v", n, d, err)
				}
			}
		})
	}
	wg.Wait()
}
