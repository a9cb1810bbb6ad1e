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

// All registers are extended, since a host may put a TPM beside a TD; it is a cap where
// the evidence shows one of them. Where a TPM signed the evidence, nothing else will do.
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
		"a TPM":                     {"tpm", 0, nil, noRTMR, "PCR 15", false, "PCR 15, RTMR 3"},
		"TDX":                       {"tdx", 0, noPCR, nil, "RTMR 3", false, "PCR 15, RTMR 3"},
		"simulated":                 {"simulated-tdx", 0, noPCR, nil, "RTMR 3", false, "PCR 15, RTMR 3"},
		"another register":          {"tdx", 2, noPCR, nil, "RTMR 2", false, "PCR 15, RTMR 2"},
		"TDX and a TPM":             {"tdx", 0, nil, nil, "PCR 15 and RTMR 3", false, "PCR 15, RTMR 3"},
		"TDX and a TPM that signed": {"gce", 0, nil, nil, "PCR 15 and RTMR 3", false, "PCR 15, RTMR 3"},
		"TDX, no RTMR, a TPM":       {"tdx", 0, nil, noRTMR, "", false, "PCR 15, RTMR 3"},
		"SNP and a TPM":             {"snp", 0, nil, noRTMR, "", false, "PCR 15, RTMR 3"},
		"neither":                   {"snp", 0, noPCR, noRTMR, "", false, "PCR 15, RTMR 3"},
		"an RTMR that fails":        {"tdx", 0, noPCR, broken, "", true, "PCR 15, RTMR 3"},
		"an RTMR that fails, a TPM": {"tpm", 0, nil, broken, "", true, "PCR 15, RTMR 3"},
		"a TPM that fails":          {"tdx", 0, broken, nil, "", true, "PCR 15"},
		"a TPM's evidence":          {"tpm", 0, noPCR, nil, "", true, "PCR 15, RTMR 3"},
		"a TPM's evidence, no cap":  {"tpm", 0, noPCR, noRTMR, "", true, "PCR 15, RTMR 3"},
		"a composite's":             {"gce", 0, noPCR, nil, "", true, "PCR 15, RTMR 3"},
		"evidence of unknown types": {"", 0, noPCR, nil, "", true, "PCR 15, RTMR 3"},
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
		if said := r.said.String(); (c.register == "" && !c.fails) != strings.Contains(said, "nothing was capped that this machine's evidence shows, of type "+c.evidence) {
			t.Errorf("%s: %s", name, said)
		} else if c.register == "" && !c.fails && !strings.Contains(said, agent.ErrNoRTMR.Error()) {
			t.Errorf("%s: no word of why: %s", name, said)
		}
	}
}

// What a person opened by hand is in a register that the machine's evidence shows, and
// without one nothing opens: a TPM that the host put there is none.
func TestRecoveryMarksRTMR(t *testing.T) {
	broken := errors.New("broken")
	tpm, td, snp := agent.Shown{Type: "gce", PCR: true}, agent.Shown{Type: "tdx", RTMR: true}, agent.Shown{Type: "snp"}
	for name, c := range map[string]struct {
		shown     agent.Shown
		pcr, rtmr error
		register  string
		want      error
	}{
		"marked":         {td, agent.ErrNoPCR, nil, "RTMR 3", nil},
		"both":           {td, nil, nil, "PCR 15 and RTMR 3", nil},
		"no register":    {td, agent.ErrNoPCR, agent.ErrNoRTMR, "", agent.ErrNoRTMR},
		"broken":         {td, agent.ErrNoPCR, broken, "", broken},
		"TDX, a TPM":     {td, nil, agent.ErrNoRTMR, "", ErrUncapped},
		"SNP, a TPM":     {snp, nil, agent.ErrNoRTMR, "", ErrUncapped},
		"Google, a TPM":  {tpm, nil, agent.ErrNoRTMR, "PCR 15", nil},
		"TPM, no device": {tpm, agent.ErrNoPCR, nil, "", ErrUncapped},
	} {
		r := newRig(t)
		r.vault.err = &agent.Refused{Status: 403, Code: "Forbidden", Reason: "policy_denied"}
		r.disk.Recovery, r.disk.Cap = Prompt, NoCap
		r.tool = &cryptsetup{path: script(t, "exit 0")}
		r.Shown = func(context.Context) agent.Shown { return c.shown }
		extended := r.registers(c.pcr, c.rtmr)
		terminal(t, r.Console, r.recovery+"\n")
		out, err := r.Unlock(t.Context(), "root", r.disk)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || err == nil && out.Register != c.register {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
		if got := (*extended)[len(*extended)-1]; got != "RTMR 3: "+agent.RecoveryEvent {
			t.Errorf("%s: %s", name, got)
		}
	}
}
