package policies

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release"
)

// hostileClaims is what an attacker could get into an input.
func hostileClaims() attest.Claims {
	var list []any
	for i := range 1000 {
		list = append(list, fmt.Sprint("e", i))
	}
	return attest.Claims{"list": list, "name": "abc", "level": int64(5), "free": map[string]any{
		"long": strings.Repeat("ab ", 20_000), "zero": int64(0), "empty": []any{}, "digits": strings.Repeat("9", 300),
	}}
}

// Policies that in plain Rego would allow, or give something else than a boolean.
func TestFailsClosed(t *testing.T) {
	e := engine(t)
	for _, tt := range []struct{ name, src, text string }{
		{"failing built-in under not (RP-08)", "allow if not bad\nbad if to_number(input.claims.name) > 1", "to_number"},
		{"division by zero under not", "allow if not bad\nbad if 1 / input.claims.free.zero > 1", "divide by zero"},
		{"wrong operand under not", "allow if not bad\nbad if count(input.claims.free.zero) > 1", "count"},
		{"empty result under not", "allow if not bad\nbad if max(input.claims.free.empty) > 1", "max has no result"},
		{"failing built-in in a comprehension", "allow if count([x | x := to_number(input.claims.list[_])]) == 0", "to_number"},
		{"failing built-in in every", "allow if not bad\nbad if every x in input.claims.list { to_number(x) > 1 }", "to_number"},
		{"mixed order", "allow if input.claims.free.long > input.claims.free.zero", "compares a string with a number"},
		{"mixed order under not", "allow if not bad\nbad if input.claims.free.zero > input.claims.free.long", "compares a number with a string"},
		{"in a string", "allow if not input.claims.name in input.claims.free.long", "no collection"},
		{"verb", "allow if sprintf(\"%d\", [input.claims.name]) != \"\"", "verb does not fit"},
		{"two complete values (RP-05)", "p := 1 if input.claims.level\np := 2 if input.claims.level\nallow if p == 1", "conflicting values"},
		{"allow true and false (RP-05)", "allow := true if input.claims.level == 5\nallow := false if input.claims.name == \"abc\"", "conflicting values"},
		{"allow a string (RP-07)", "allow := input.claims.free.long", "allow is a string"},
		{"allow a number", "allow := input.claims.free.zero", "allow is a number"},
		{"allow a list", "allow := input.claims.free.empty", "allow is a array"},
		{"allow an object", "allow := input.claims.free", "allow"},
		{"message is a number", "allow if true\ndeny contains 3 if input.claims.level", "a deny message is a number"},
		{"message is null", "allow if true\ndeny contains null if input.claims.level", "a deny message is a null"},
		{"function conflict", "f(x) := 1 if x\nf(x) := 2 if x\nallow if f(true) == 1", "conflict"},
		{"table conflict", "t[k] := v if { some k in [\"a\"]; some v in [1, 2] }\nallow if t.a", "conflict"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := preamble + tt.src
			d, err := e.Evaluate(t.Context(), policy(src), input(hostileClaims()))
			if d.Allow || d.Reason != release.ReasonPolicyError || release.ReasonOf(err) != release.ReasonPolicyError || !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Errorf("got %+v %v", d, err)
			}
		})
	}
}

// TestUndefinedAllowIsAnError is RP-06.
func TestUndefinedAllowIsAnError(t *testing.T) {
	e := engine(t)
	src := "package release\nallow if input.claims.level == 77"
	if err := e.Check(t.Context(), policy(src)); err != nil {
		t.Fatal(err)
	}
	d, err := e.Evaluate(t.Context(), policy(src), input(nil))
	if d.Allow || release.ReasonOf(err) != release.ReasonPolicyError || !strings.Contains(err.Error(), "default allow := false") {
		t.Errorf("%+v %v", d, err)
	}
}

// Policies that would use all time or memory. Each must stop by steps, bytes or
// value size, which are counted and the same everywhere.
func TestHostile(t *testing.T) {
	sequential(t)
	e := engine(t)
	doubled := "f(x) := [x, x]\n"
	nested := strings.Repeat("f(", 24) + "input.claims.level" + strings.Repeat(")", 24)
	chain := ""
	for _, c := range []string{"r", "s"} {
		chain += c + "0 := [input.claims.level | some i in input.claims.list]\n"
		for i := range 3 {
			chain += fmt.Sprintf("%s%d := [%s%d | some i in input.claims.list]\n", c, i+1, c, i)
		}
	}
	for _, tt := range []struct{ name, src string }{
		{"loops", "allow if { some a in input.claims.list; some b in input.claims.list; a == concat(b, [\"x\"]) }"},
		{"every", "allow if every a in input.claims.list { every b in input.claims.list { a != concat(\"\", [b, \"x\"]) } }"},
		{"cross product (RP-03)", "allow if count([[a, b] | some a in input.claims.list; some b in input.claims.list]) > 0"},
		{"cross set", "allow if count({[a, b] | some a in input.claims.list; some b in input.claims.list}) > 0"},
		{"cross object", "allow if count({k: 1 | some a in input.claims.list; some b in input.claims.list; k := concat(a, [b])}) > 0"},
		{"sprintf width (RP-04)", `allow if count(sprintf("%900000000d", [1])) > 0`},
		{"sprintf star", `allow if count(sprintf("%*d", [1000000000, 1])) > 0`},
		{"sprintf repeated", `allow if count(sprintf("%[1]v%[1]v%[1]v%[1]v%[1]v%[1]v%[1]v", [input.claims.free.long])) > 0`},
		{"replace", `allow if count(replace(input.claims.free.long, "", input.claims.free.long)) > 0`},
		{"concat", "allow if count(concat(input.claims.free.long, input.claims.list)) > 0"},
		{"string doubling", "a0 := input.claims.free.long\n" + doubling(`a%d := concat("", [a%d, a%[2]d])`) + "allow if count(a20) > 0"},
		{"array doubling", "a0 := input.claims.list\n" + doubling("a%d := array.concat(a%d, a%[2]d)") + "allow if count(a20) > 0"},
		{"trim", "allow if { some x in input.claims.list; trim(input.claims.free.long, input.claims.free.long) == x }"},
		{"regex text (RP-27)", `allow if regex.match("(a+)+$", input.claims.free.long)`},
		{"regex repetition", `allow if { some x in input.claims.list; regex.match("(a?){99}(a{1,99})c", substring(input.claims.free.long, 0, 400)) }`},
		{"numbers", "a0 := to_number(input.claims.free.digits)\n" + doubling("a%d := a%d * a%[2]d") + "allow if a20 > 0"},
		{"shared trees, unify", chain + "allow if r3 = s3"},
		{"shared trees, set", chain + "allow if count({r3, s3}) > 0"},
		{"shared trees, partial set", chain + "p contains r3\np contains s3\nallow if count(p) > 0"},
		{"shared trees, key", chain + "p[r3] := 1\nallow if count(p) > 0"},
		{"shared trees, function", chain + "g(a, b) if a == b\nallow if g(r3, s3)"},
		{"function doubling, equal", doubled + "allow if { a := " + nested + "; b := " + nested + "; a = b }"},
		{"function doubling, set", doubled + "allow if { a := " + nested + "; count({a}) == 1 }"},
		{"arguments built at the call", "g(a, b) if a == b\nallow if { x := input.claims.list; y := [v | some v in x]; g(" + wide("x", 60) + ", " + wide("y", 60) + ") }"},
		{"set of computed parts", "allow if { x := input.claims.list; y := {" + wide("x", 60) + ", 1}; count(y) > 3 }"},
		{"a million messages (RP-22)", "allow if true\ndeny contains concat(a, [b, b]) if { some a in input.claims.list; some b in input.claims.list }"},
		{"one long string, set", "allow if count({input.claims.free.long | some _ in input.claims.list}) == 2"},
		{"one long string, partial set", "p contains input.claims.free.long if some _ in input.claims.list\nallow if count(p) == 2"},
		{"one long string, key", "allow if count({input.claims.free.long: 1 | some _ in input.claims.list}) == 2"},
		{"one long string, partial object", "p[input.claims.free.long] := 1 if some _ in input.claims.list\nallow if count(p) == 2"},
		{"one key many times", "allow if count({k: 1 | some _ in input.claims.list; some i in [1, 2, 3, 4]; k := is_number(i)}) == 2"},
		{"one key many times, partial object", "p[k] := 1 if { some _ in input.claims.list; some i in [1, 2, 3, 4]; k := is_number(i) }\nallow if count(p) == 2"},
		{"union", "allow if { some a in input.claims.list; count(union({{b | some b in input.claims.list} | some c in input.claims.list})) == count(a) }"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			prog, err := e.program(policy(preamble + tt.src))
			if err != nil {
				t.Fatal(err)
			}
			doc, err := document(input(hostileClaims()))
			if err != nil {
				t.Fatal(err)
			}
			r := e.run(t.Context(), prog, doc, e.limits, nil)
			if r.decision.Allow || r.decision.Reason != release.ReasonPolicyResource || release.ReasonOf(r.err) != release.ReasonPolicyResource {
				t.Errorf("got %+v", r)
			}
			if r.bytes > e.limits.bytes+int64(e.limits.value) {
				t.Errorf("%d bytes were built", r.bytes)
			}
			if again := e.run(t.Context(), prog, doc, e.limits, nil); again.steps != r.steps || fmt.Sprint(again.err) != fmt.Sprint(r.err) {
				t.Errorf("not the same twice: %+v %+v", r, again)
			}
		})
	}
}

// Each of the three budgets ends an evaluation that the other two would let pass.
func TestEachBudgetCounts(t *testing.T) {
	sequential(t)
	e := engine(t)
	for text, src := range map[string]string{
		"more than 50000 steps":    busy,
		"more than 2097152 bytes":  "allow if count([y | some x in input.claims.list; some _ in input.claims.list; y := " + wide("x", 60) + "]) == 1",
		"larger than 262144 bytes": "allow if { x := input.claims.free.long; y := [x, x, x, x, x]; count(y) == 1 }",
	} {
		d, err := e.Evaluate(t.Context(), policy(preamble+src), input(hostileClaims()))
		if d.Allow || release.ReasonOf(err) != release.ReasonPolicyResource || !strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("want %q, got %+v %v", text, d, err)
		}
	}
}

func doubling(format string) string {
	var b strings.Builder
	for i := range 20 {
		fmt.Fprintf(&b, format+"\n", i+1, i)
	}
	return b.String()
}

func wide(name string, n int) string { return "[" + strings.Repeat(name+",", n) + "]" }

// TestPanicIsAnError is RP-29.
func TestPanicIsAnError(t *testing.T) {
	e := engine(t)
	e.fault = func() { panic("hook") }
	d, err := e.Evaluate(t.Context(), policy(preamble+"allow if true"), input(nil))
	if d.Allow || release.ReasonOf(err) != release.ReasonPolicyError || !strings.Contains(err.Error(), "panicked") {
		t.Fatalf("%+v %v", d, err)
	}
	e.fault = func() {}
	if d, err := e.Evaluate(t.Context(), policy(preamble+"allow if true"), input(nil)); !d.Allow || err != nil {
		t.Errorf("afterwards: %+v %v", d, err)
	}
}

const busy = "allow if { some a in input.claims.list; some b in input.claims.list; a == concat(b, [\"x\"]) }"

func TestWallClockIsATimeout(t *testing.T) {
	e := engine(t)
	e.limits.wall = defaultLimits.wall
	at := time.Unix(0, 0)
	e.now = func() time.Time { at = at.Add(100 * time.Millisecond); return at }
	d, err := e.Evaluate(t.Context(), policy(preamble+busy), input(hostileClaims()))
	if d.Allow || release.ReasonOf(err) != release.ReasonPolicyTimeout {
		t.Errorf("%+v %v", d, err)
	}
}

func TestGoneRequestIsATimeout(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d, err := engine(t).Evaluate(ctx, policy(preamble+busy), input(hostileClaims()))
	if d.Allow || release.ReasonOf(err) != release.ReasonPolicyTimeout {
		t.Errorf("%+v %v", d, err)
	}
}

func TestDigestIsRecomputed(t *testing.T) {
	e := engine(t)
	p := policy(preamble + "allow if input.claims.level == 99")
	if d, err := e.Evaluate(t.Context(), p, input(nil)); d.Allow || err != nil {
		t.Fatalf("%+v %v", d, err)
	}
	p.Data = []byte(preamble + "allow if true") // other bytes under the cached digest
	if d, err := e.Evaluate(t.Context(), p, input(nil)); d.Allow || release.ReasonOf(err) != release.ReasonPolicyError {
		t.Errorf("%+v %v", d, err)
	}
	p.Digest = [32]byte{}
	if d, err := e.Evaluate(t.Context(), p, input(nil)); d.Allow || release.ReasonOf(err) != release.ReasonPolicyError {
		t.Errorf("%+v %v", d, err)
	}
}

// RP-25: white space makes another policy, and bytes are never reformatted.
func TestWhiteSpaceIsAnotherPolicy(t *testing.T) {
	e := engine(t)
	a, b := policy(preamble+"allow if true"), policy(preamble+"allow  if true")
	for _, p := range []release.ReleasePolicy{a, b} {
		before := sha256.Sum256(p.Data)
		if d, err := e.Evaluate(t.Context(), p, input(nil)); !d.Allow || err != nil {
			t.Fatal(d, err)
		}
		if sha256.Sum256(p.Data) != before {
			t.Error("the source was changed")
		}
	}
	if len(e.cache.entries) != 2 {
		t.Errorf("%d programs", len(e.cache.entries))
	}
}

func TestInputThatTheLogWouldShowOtherwise(t *testing.T) {
	e := engine(t)
	deep := any("x")
	for range 40 {
		deep = []any{deep}
	}
	for name, claims := range map[string]attest.Claims{
		"float": {"free": map[string]any{"x": 1.5}}, "nil": {"free": map[string]any{"x": nil}}, "int": {"level": 3},
		"bytes": {"free": map[string]any{"x": []byte("a")}}, "strings": {"list": []string{"a"}}, "UTF-8": {"name": "\xff"},
		"name": {"free": map[string]any{"\xff": "a"}}, "deep": {"free": map[string]any{"x": deep}},
	} {
		if d, err := e.Evaluate(t.Context(), policy(preamble+"allow if true"), input(claims)); d.Allow || release.ReasonOf(err) != release.ReasonPolicyError {
			t.Errorf("%s: %+v %v", name, d, err)
		}
	}
	if d, err := e.Evaluate(t.Context(), policy(preamble+"allow if true"), nil); d.Allow || err == nil {
		t.Errorf("no input: %+v %v", d, err)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	e := engine(t)
	e.limits.steps *= 10
	d, err := e.Evaluate(t.Context(), policy(preamble+"allow if true\ndeny contains sprintf(\"%s %s\", [x, substring(input.claims.free.long, 0, 2000)]) if some x in input.claims.list"), input(hostileClaims()))
	if err != nil && release.ReasonOf(err) != release.ReasonPolicyResource {
		t.Fatal(err)
	}
	if len(d.Messages) > maxMessages {
		t.Errorf("%d messages", len(d.Messages))
	}
	d, err = e.Evaluate(t.Context(), policy(preamble+"allow if true\ndeny contains x if some x in input.claims.list"), input(hostileClaims()))
	if err != nil || len(d.Messages) != maxMessages || d.Messages[0] != "e0" || d.Messages[1] != "e1" || d.Messages[2] != "e10" {
		t.Errorf("%v %v", d.Messages, err)
	}
}

func TestCachedRefusal(t *testing.T) {
	e := engine(t)
	p := policy("package other")
	_, first := e.Evaluate(t.Context(), p, input(nil))
	_, second := e.Evaluate(t.Context(), p, input(nil))
	var ce *CheckError
	if !errors.As(first, &ce) || first.Error() != second.Error() {
		t.Errorf("%v\n%v", first, second)
	}
}

func TestCacheIsBounded(t *testing.T) {
	e, err := New(Config{CacheSize: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if d, err := e.Evaluate(t.Context(), policy(fmt.Sprintf("%sallow if input.claims.level == %d", preamble, i)), input(nil)); err != nil || d.Allow != (i == 2) {
			t.Fatal(i, d, err)
		}
	}
	if len(e.cache.entries) != 3 || e.cache.order.Len() != 3 {
		t.Errorf("%d entries", len(e.cache.entries))
	}
}

// TestTCBStatusMustBeNamed: a policy that is silent about the TCB status gets
// UpToDate only (TP-11); one that names it decides.
func TestTCBStatusMustBeNamed(t *testing.T) {
	e := engine(t)
	const head = "package release\n\ndefault allow := false\n\n"
	silent := head + "allow if input.evidence.type == \"tdx\"\n"
	named := head + "allow if input.evidence.tcb_status in {\"UpToDate\", \"SWHardeningNeeded\"}\n"
	claim := head + "allow if input.claims.attester_tcb_status == \"OutOfDate\"\n"
	for _, c := range []struct {
		policy, status string
		reason         release.Reason // "": allowed
	}{
		{silent, "", ""},
		{silent, attest.TCBUpToDate, ""},
		{silent, "SWHardeningNeeded", release.ReasonTCBNotNamed},
		{silent, "OutOfDate", release.ReasonTCBNotNamed},
		{silent, attest.TCBUnknown, release.ReasonTCBNotNamed},
		{silent, "uptodate", release.ReasonTCBNotNamed},
		{named, attest.TCBUpToDate, ""},
		{named, "SWHardeningNeeded", ""},
		{named, "OutOfDate", release.ReasonPolicyDenied},
		{claim, "OutOfDate", ""},
	} {
		in := &release.Input{
			Evidence: release.InputEvidence{Type: "tdx", TCBStatus: c.status},
			Claims:   attest.Claims{"attester_tcb_status": c.status},
		}
		d, err := e.Evaluate(t.Context(), policy(c.policy), in)
		if err != nil || d.Allow != (c.reason == "") || d.Reason != c.reason {
			t.Errorf("%q with %q: %+v, %v", c.policy[len(head):], c.status, d, err)
		}
	}
}
