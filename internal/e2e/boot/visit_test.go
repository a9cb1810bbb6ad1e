package boot

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/canary"
	"github.com/openskr/openskr/release/receipt"
)

// inGuest is what the lines of the program in the root begin with.
const inGuest = "e2e: "

// visit is one boot and what the broker recorded of it.
type visit struct {
	lab      *lab
	console  *console
	releases []entry // decisions on keys, for this machine, in their order
}

// visit boots a machine and reads the log of what it asked for.
func (l *lab) visit(t *testing.T, m *machine, s start) *visit {
	t.Helper()
	before, err := l.entries(0)
	if err != nil {
		t.Fatal(err)
	}
	v := &visit{lab: l}
	if v.console, err = l.boot(t.Context(), logName(t), m, s); err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f s from power on to power off, %.0f s of processors", v.console.seconds, v.console.busy)
	l.showsNoKey(t, "console", []byte(v.console.text))
	after, err := l.entries(int64(len(before)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range after {
		if e.Record.Kind == receipt.KindRelease && e.Record.Caller.ID == m.id {
			v.releases = append(v.releases, e)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the console:\n%s", tail([]byte(v.console.text)))
		}
	})
	return v
}

// showsNoKey wants nothing of a disk's key, or of what programs get, in what a machine
// wrote.
func (l *lab) showsNoKey(t *testing.T, what string, b []byte) {
	t.Helper()
	k, err := canary.New(append(l.programs.keys(), l.debian.material, l.small.material)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range k.In(b) {
		t.Errorf("in the %s: %s", what, found)
	}
}

// on wants the root open and its program run.
func (v *visit) on(t *testing.T, d disk) {
	t.Helper()
	if v.console.line(inGuest+"root is open: "+d.secret) == "" {
		t.Error("the root did not open")
	}
}

// off wants the machine off without its root, without a shell, and a console that says
// why.
func (v *visit) off(t *testing.T, why string) {
	t.Helper()
	if line := v.console.line(inGuest); line != "" {
		t.Errorf("the root opened: %s", line)
	}
	for _, shell := range []string{"(initramfs)", "dracut:/#", "Press Enter for maintenance", "root@", "sh-5"} {
		if line := v.console.line(shell); line != "" {
			t.Errorf("a shell: %s", line)
		}
	}
	if line := v.console.line("openskr-agent: ", why); line == "" {
		t.Errorf("no line of the console says %q", why)
	} else {
		t.Log(line)
	}
}

// asked wants these decisions, each "allow" or "deny REASON", and no other.
func (v *visit) asked(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, e := range v.releases {
		got = append(got, strings.TrimSpace(string(e.Record.Decision)+" "+string(e.Record.Reason)))
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("decisions %q, want %q", got, want)
	}
}

// decision is what the broker kept of a denial.
type decision struct{ pcrs map[string]string }

// denied wants the machine's last request denied by the policy, and an explanation to
// the operator with each of the words.
func (v *visit) denied(t *testing.T, words ...string) decision {
	t.Helper()
	if len(v.releases) == 0 {
		t.Fatal("the log has no decision for this machine")
	}
	last := v.releases[len(v.releases)-1]
	if last.Record.Decision != receipt.Deny || last.Record.Reason != "policy_denied" {
		t.Fatalf("the last decision is %s %s", last.Record.Decision, last.Record.Reason)
	}
	n := strconv.FormatInt(last.Index, 10)
	why, err := v.lab.openskr("log", "show", n)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range words {
		if !strings.Contains(string(why), w) {
			t.Errorf("the log does not say %q:\n%s", w, why)
		}
	}
	raw, err := v.lab.openskr("log", "show", n, "--json")
	if err != nil {
		t.Fatal(err)
	}
	var shown struct {
		Input struct {
			Claims struct {
				TPM struct {
					PCRs struct {
						SHA256 map[string]string `json:"sha256"`
					} `json:"pcrs"`
				} `json:"tpm"`
			} `json:"claims"`
		} `json:"input"`
	}
	if err := json.Unmarshal(raw, &shown); err != nil {
		t.Fatal(err)
	}
	return decision{shown.Input.Claims.TPM.PCRs.SHA256}
}

// known are the reference values of a kind.
func (l *lab) known(t *testing.T, kind string) map[string]bool {
	t.Helper()
	out, err := l.openskr("reference", "show", "boot", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var set struct {
		Value []struct{ Kind, Value string }
	}
	if err := json.Unmarshal(out, &set); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	values := map[string]bool{}
	for _, v := range set.Value {
		if v.Kind == kind {
			values[v.Value] = true
		}
	}
	return values
}

// recoveryKey is what an operator types.
func (d disk) recoveryKey(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(d.recovery)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
