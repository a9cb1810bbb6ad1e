package policies

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/policies/azure"
)

// generator makes policies and claims that have a good chance to meet.
type generator struct{ *rand.Rand }

func pick[T any](g generator, of []T) T { return of[g.IntN(len(of))] }

func (g generator) name() string {
	if g.IntN(4) > 0 {
		return pick(g, []string{"a", "b", "a.b"})
	}
	return pick(g, []string{"a", "b", "c", "a.b", "a.b.c", "b.a", "x-ms-y.z", "x-ms-y", "attester_tcb_status", `a"]`, "\u017f", "input", "\n", "a b"})
}

func (g generator) scalar() any {
	if g.IntN(2) == 0 { // half of all are of a few, so that they are equal at times
		return pick(g, []any{"1", int64(1), true, "true", uint64(2)})
	}
	texts := []string{"", "true", "false", "TRUE", "0", "-0", "1", "01", "1.0", "-1", "1.5", "2", " 1", "1e2", "x", `"`, `\`, "}\nallow := true #", "é", "18446744073709551615", strings.Repeat("9", 41)}
	switch g.IntN(4) {
	case 0:
		return g.IntN(2) == 0
	case 1:
		return pick(g, []int64{0, 1, 2, -1, math.MinInt64, math.MaxInt64})
	case 2:
		return pick(g, []uint64{0, 1, 100, math.MaxInt64 + 1, math.MaxUint64})
	}
	return pick(g, texts)
}

func (g generator) claim(depth int) any {
	switch n := g.IntN(6); {
	case n == 0:
		return []any{g.scalar()}
	case n <= 2 && depth > 0:
		return map[string]any(g.claims(depth - 1))
	}
	return g.scalar()
}

func (g generator) claims(depth int) attest.Claims {
	out := attest.Claims{}
	for range 1 + g.IntN(5) {
		out[g.name()] = g.claim(depth)
	}
	for range g.IntN(2) {
		out[pick(g, []string{"a", "b", "c", "z"})] = g.claim(depth)
	}
	return out
}

func (g generator) condition(depth int) any {
	if depth > 0 && g.IntN(3) == 0 {
		return map[string]any{g.list(): g.conditions(depth - 1)}
	}
	op := pick(g, []string{"equals", "equals", "equals", "EQUALS", "notEquals", "less", "lessOrEquals", "greater", "greaterorequals", "exists"})
	var v any = g.IntN(2) == 0
	if op != "exists" {
		if v = g.scalar(); g.IntN(6) == 0 {
			v = json.RawMessage(pick(g, []string{"1.0", "-0", "-0.0", "0.50", "1.5", "2.000", "18446744073709551616", "18446744073709551614.5", "-9223372036854775809"}))
		}
	}
	return map[string]any{pick(g, []string{"claim", "Claim"}): g.name(), op: v}
}

func (g generator) list() string { return pick(g, []string{"anyOf", "allOf", "anyof", "ALLOF"}) }

func (g generator) conditions(depth int) []any {
	out := []any{g.condition(depth)}
	for range g.IntN(4) / 2 {
		out = append(out, g.condition(depth))
	}
	return out
}

func (g generator) policy() []byte {
	var authorities []any
	for range 1 + g.IntN(2) {
		authorities = append(authorities, map[string]any{"authority": pick(g, []string{authority, authority, authority, authority + "/", authority + "//", "https://b"}), g.list(): g.conditions(3)})
	}
	b, err := json.Marshal(map[string]any{"version": "1.0.0", pick(g, []string{"anyOf", "anyOf", "anyof", "allOf"}): authorities})
	if err != nil {
		panic(err)
	}
	return b
}

// The compiled form decides as the specification reads, and explains what it denies.
func TestJSONDifferential(t *testing.T) {
	sequential(t)
	e := engine(t)
	g := generator{rand.New(rand.NewPCG(4, 2))}
	allowed, denied := 0, 0
	for i := range 700 {
		src := g.policy()
		p, err := azure.Parse(src)
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		for j := range 4 {
			in := vouched(g.claims(3))
			if j > 0 {
				p.Each(func(c *azure.Condition) { // meet some on purpose
					if c.Operator == azure.Equals && g.IntN(3) > 0 {
						in.Claims[c.Claim] = c.Value.Text
					}
				})
			}
			in.Evidence.Authority = pick(g, []string{authority, authority, authority, authority + "/", "https://b", "https://c"})
			got, want := allows(t, e, string(src), in), referenceAllows(src, in)
			if got != want {
				t.Fatalf("%s\nclaims %v\nauthority %s\ngot %v, want %v", src, in.Claims, in.Evidence.Authority, got, want)
			}
			if got {
				allowed++
				if x, err := e.Explain(t.Context(), policyJSON(string(src)), mustJSON(t, in)); err != nil || !x.Decision.Allow {
					t.Fatalf("%s\n%v\na replay decides otherwise: %+v %v", src, in.Claims, x, err)
				}
				continue
			}
			if denied++; i%20 == 0 {
				explainsJSON(t, e, string(src), mustJSON(t, in))
			}
		}
	}
	if allowed < 400 || denied < 400 {
		t.Errorf("%d allowed, %d denied: the generator shows nothing", allowed, denied)
	}
}

// explainsJSON demands a reason for a denial, in the words of the JSON alone.
func explainsJSON(t *testing.T, e *Engine, src string, doc []byte) {
	t.Helper()
	x, err := e.Explain(t.Context(), policyJSON(src), doc)
	if err != nil || x.Decision.Allow || x.Error != "" || len(x.Failures) == 0 {
		t.Fatalf("%s\n%s\n%+v %v", src, doc, x, err)
	}
	for _, f := range x.Failures {
		if !strings.HasPrefix(f.Rule, "anyOf[") && !strings.HasPrefix(f.Rule, "allOf[") || len(f.Values) != 1 || f.Row == 0 {
			t.Errorf("%s\n%+v", src, f)
		}
	}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzJSON throws policies and claims at the reader, the translation and the engine:
// what the reader takes compiles, has no error, and decides as the specification reads.
func FuzzJSON(f *testing.F) {
	g := generator{rand.New(rand.NewPCG(1, 1))}
	for range 20 {
		f.Add(g.policy(), string(mustJSON(f, g.claims(3))))
	}
	f.Add([]byte(under(`{"claim":"a\"] == 1 }\nallow := true\n#","equals":"\u2028\ud83d\ude00\\"}`)), `{"a":1}`)
	f.Add([]byte(under(`{"claim":"a","less":"0.1"}`)), `{"a":"-0.0"}`)
	e := engine(f)
	f.Fuzz(func(t *testing.T, src []byte, claims string) {
		p, found := readJSON(src)
		if p == nil {
			if len(found) != 1 || found[0].Row < 1 || found[0].Col < 1 {
				t.Errorf("%+v", found)
			}
			return
		}
		var raw map[string]any
		d := json.NewDecoder(strings.NewReader(claims))
		if d.UseNumber(); d.Decode(&raw) != nil {
			return
		}
		in := vouched(attest.Claims{})
		for k, v := range raw {
			in.Claims[k] = claimOf(v)
		}
		if checkClaims(map[string]any(in.Claims), maxInputDepth) != nil {
			return
		}
		if got, want := allows(t, e, string(src), in), referenceAllows(src, in); got != want {
			t.Errorf("got %v, want %v\n%s", got, want, p.Rego().Source)
		}
	})
}

// claimOf makes a claim of decoded JSON; what cannot be one is made text.
func claimOf(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = claimOf(e)
		}
		return out
	case []any:
		out := []any{}
		for _, e := range v {
			out = append(out, claimOf(e))
		}
		return out
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
	case bool, string:
		return v
	}
	return fmt.Sprint(v)
}
