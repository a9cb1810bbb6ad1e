package boot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	agent "github.com/openskr/openskr/enclave-agent"
)

// registers gives a rig a machine whose PCR and RTMR end with these errors, and says
// which were extended, by which event.
func (r *rig) registers(pcr, rtmr error) *[]string {
	var extended []string
	note := func(name string, err error) func(context.Context, int, string) error {
		return func(_ context.Context, n int, event string) error {
			extended = append(extended, fmt.Sprintf("%s %d: %s", name, n, event))
			return err
		}
	}
	r.Cap, r.CapRTMR = note("PCR", pcr), note("RTMR", rtmr)
	return &extended
}

// A TDX machine without a TPM is capped in an RTMR; where a TPM signed the evidence,
// nothing else will do.
func TestCapRTMR(t *testing.T) {
	broken := errors.New("broken")
	noPCR, noRTMR := fmt.Errorf("%w: none", agent.ErrNoPCR), fmt.Errorf("%w: none", agent.ErrNoRTMR)
	for name, c := range map[string]struct {
		evidence  string
		given     int
		pcr, rtmr error
		register  string // "": the volume is open without
		fails     bool
		extended  string
	}{
		"a TPM":                     {"tdx", 0, nil, broken, "PCR 15", false, "PCR 15"},
		"TDX":                       {"tdx", 0, noPCR, nil, "RTMR 3", false, "PCR 15, RTMR 3"},
		"simulated":                 {"simulated-tdx", 0, noPCR, nil, "RTMR 3", false, "PCR 15, RTMR 3"},
		"another register":          {"tdx", 2, noPCR, nil, "RTMR 2", false, "PCR 15, RTMR 2"},
		"neither":                   {"snp", 0, noPCR, noRTMR, "", false, "PCR 15, RTMR 3"},
		"an RTMR that fails":        {"tdx", 0, noPCR, broken, "", true, "PCR 15, RTMR 3"},
		"a TPM that fails":          {"tdx", 0, broken, nil, "", true, "PCR 15"},
		"a TPM's evidence":          {"tpm", 0, noPCR, nil, "", true, "PCR 15"},
		"a composite's":             {"gce", 0, noPCR, nil, "", true, "PCR 15"},
		"evidence of unknown types": {"", 0, noPCR, nil, "", true, "PCR 15"},
	} {
		r := newRig(t)
		r.vault.evidence, r.disk.RTMR = c.evidence, c.given
		extended := r.registers(c.pcr, c.rtmr)
		out, err := r.Unlock(t.Context(), "root", r.disk)
		if (err != nil) != c.fails || err == nil && (out.Register != c.register || out.Capped != (c.register != "")) {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
		if want := strings.ReplaceAll(c.extended, ",", ": "+agent.CapEvent+",") + ": " + agent.CapEvent; strings.Join(*extended, ", ") != want {
			t.Errorf("%s: extended %v, want %s", name, *extended, want)
		}
		if said := r.said.String(); (c.register == "" && !c.fails) != strings.Contains(said, "no PCR was capped") {
			t.Errorf("%s: %s", name, said)
		}
	}
}

// What a person opened by hand is in the RTMR, too, and without a register nothing opens.
func TestRecoveryMarksRTMR(t *testing.T) {
	for name, rtmr := range map[string]error{"marked": nil, "no register": agent.ErrNoRTMR, "broken": errors.New("broken")} {
		r := newRig(t)
		r.vault.err = &agent.Refused{Status: 403, Code: "Forbidden", Reason: "policy_denied"}
		r.disk.Recovery, r.disk.Cap = Prompt, NoCap
		r.tool = &cryptsetup{path: script(t, "exit 0")}
		extended := r.registers(agent.ErrNoPCR, rtmr)
		terminal(t, r.Console, r.recovery+"\n")
		out, err := r.Unlock(t.Context(), "root", r.disk)
		if !errors.Is(err, rtmr) || (err == nil) != (rtmr == nil) || err == nil && out.Register != "RTMR 3" {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
		if got := (*extended)[len(*extended)-1]; got != "RTMR 3: "+agent.RecoveryEvent {
			t.Errorf("%s: %s", name, got)
		}
	}
}
