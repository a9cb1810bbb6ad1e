package policies

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release"
)

func TestDecisions(t *testing.T) {
	e := engine(t)
	for _, tt := range []struct {
		name, src string
		claims    attest.Claims
		allow     bool
		messages  []string
	}{
		{"allow", preamble + "allow if input.claims.level == 2", nil, true, nil},
		{"condition fails", preamble + "allow if input.claims.level == 3", nil, false, nil},
		{"reference", preamble + `allow if data.references.web.pcr4[input.claims.tpm.pcrs.sha256["4"]]`, nil, true, nil},
		{"reference unknown", preamble + `allow if data.references.web.pcr4[input.claims.tpm.pcrs.sha256["5"]]`, nil, false, nil},
		{"reference set unknown", preamble + `allow if data.references.db.pcr4[input.claims.tpm.pcrs.sha256["4"]]`, nil, false, nil},
		{"deny wins, sorted", preamble + "allow if true\ndeny contains msg if some msg in [\"b\", \"a\"]", nil, false, []string{"a", "b"}},
		{"no deny fires", preamble + "allow if true\ndeny contains \"x\" if input.claims.level > 2", nil, true, nil},
		{"messages are cut and made printable", preamble + "allow if true\ndeny contains input.claims.name", attest.Claims{"name": "\x1b[2J" + strings.Repeat("é", 2000)}, false, []string{`\x1b[2J` + strings.Repeat("é", 508)}},
		{"large integers are exact", preamble + "allow if input.claims.level == 9007199254740993", attest.Claims{"level": uint64(9007199254740993)}, true, nil},
		{"the largest integer is exact", preamble + "allow if input.claims.level == 18446744073709551615", attest.Claims{"level": uint64(18446744073709551615)}, true, nil},
		{"large integers are not negative", preamble + "allow if input.claims.level < 0", attest.Claims{"level": uint64(9223372036854775808)}, false, nil},
		{"nor inside of claims", preamble + "allow if input.claims.free.deep[0].level > 9223372036854775807", attest.Claims{"free": map[string]any{"deep": []any{map[string]any{"level": uint64(9223372036854775808)}}}}, true, nil},
		{"large integers differ", preamble + "allow if input.claims.level == 9007199254740993", attest.Claims{"level": uint64(9007199254740992)}, false, nil},
		{"function", preamble + "allow if f(input.claims.level)\nf(x) if x > 1", nil, true, nil},
		{"else", preamble + "allow := true if { input.claims.level > 5 } else := input.claims.secureboot", nil, true, nil},
		{"every", preamble + "allow if every x in input.claims.list { count(x) == 1 }", nil, true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := e.Check(t.Context(), policy(tt.src)); err != nil {
				t.Fatal(err)
			}
			d, err := e.Evaluate(t.Context(), policy(tt.src), input(tt.claims))
			if err != nil {
				t.Fatal(err)
			}
			if d.Allow != tt.allow || !slices.Equal(d.Messages, tt.messages) {
				t.Errorf("got %+v", d)
			}
			if !d.Allow && d.Reason != release.ReasonPolicyDenied {
				t.Errorf("reason %s", d.Reason)
			}
		})
	}
}

func BenchmarkEvaluate60Claims(b *testing.B) {
	for _, refs := range []int{2, 10_000} {
		b.Run(map[int]string{2: "2 references", 10_000: "10000 references"}[refs], func(b *testing.B) { benchmark(b, refs) })
	}
}

func benchmark(b *testing.B, refs int) {
	e := engine(b)
	p, in := policy(benchPolicy), sixtyClaims()
	if err := e.SetReferences(manyReferences(refs)); err != nil {
		b.Fatal(err)
	}
	if d, err := e.Evaluate(context.Background(), p, in); err != nil || !d.Allow {
		b.Fatal(d, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if d, err := e.Evaluate(context.Background(), p, in); err != nil || !d.Allow {
			b.Fatal(d, err)
		}
	}
}

const benchPolicy = `package release

default allow := false

allow if {
	input.evidence.type == "tpm"
	input.evidence.freshness == "nonce"
	input.claims.secureboot == true
	input.claims.level >= 2
	known("4")
	known("9")
	known("12")
	input.machine.labels.role == input.key.tags.role
	startswith(input.claims.boot.cmdline, "root=")
}

known(index) if {
	entry := data.references.web.pcr[input.claims.tpm.pcrs.sha256[index]]
	entry.until > input.request.time
}

deny contains "safe clock is off" if input.claims.tpm.clock.safe == false

deny contains "debugger on the command line" if contains(input.claims.boot.cmdline, "kgdb")
`

// sixtyClaims is an input with 60 leaves under claims.
func sixtyClaims() *release.Input {
	in := input(nil)
	n := 35
	free := map[string]any{}
	for len(free)+n < 60 {
		free[strings.Repeat("c", len(free)+1)] = "value " + strings.Repeat("v", len(free))
	}
	in.Claims["free"] = free
	return in
}

func manyReferences(n int) map[string]any {
	pcr := map[string]any{}
	for i := range 16 {
		pcr[strings.Repeat(string("0123456789abcdef"[i]), 64)] = map[string]any{"label": "image", "until": int64(5000)}
	}
	for i := range n {
		pcr[strings.Repeat("0", 32)+strings.Repeat("x", i%32)+string(rune('a'+i%26))+strings.Repeat("y", i/32%300)] = map[string]any{"label": "image", "until": int64(5000)}
	}
	return map[string]any{"web": map[string]any{"pcr": pcr}}
}
