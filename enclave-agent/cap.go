package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/openskr/openskr/attest"
	tdx "github.com/openskr/openskr/attest/tdx/guest"
	"github.com/openskr/openskr/attest/tpm/guest"
)

// What [Cap] extends a PCR with: each bank takes its hash of these bytes. A machine that
// was opened by a person at its console has another value than one that got its key.
const (
	CapEvent      = "openskr cap v1"
	RecoveryEvent = "openskr recovery v1"
)

// DefaultCap is the PCR that [Cap] is for where nothing else is said.
const DefaultCap = 15

// ErrNoPCR says that this machine has no TPM, and so no PCR to cap.
var ErrNoPCR = errors.New("no TPM on this machine")

// Cap extends PCR n, 8 to 15, of this machine's TPM with event, so that a policy that
// wants the value from before releases nothing more until the next boot. Errors wrap
// [ErrNoPCR] where there is no device of a TPM, but not where one does not open, and
// [ErrConfig] for another PCR.
func Cap(ctx context.Context, h Hardware, n int, event string) error {
	if err := CheckCap(n); err != nil {
		return err
	}
	t, err := guest.Open(h.tpm())
	if h.TPM == "" && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrNoPCR, err)
	}
	if err != nil {
		return err
	}
	return errors.Join(t.Extend(ctx, n, []byte(event)), t.Close())
}

// ErrNoRTMR says that this machine has no RTMR to cap: it is no TD, or its kernel is older
// than Linux 6.16.
var ErrNoRTMR = tdx.ErrNoRTMR

// DefaultRTMR is the register of TDX that [CapRTMR] is for where nothing else is said: the
// running system's, which no firmware and no boot loader extends.
const DefaultRTMR = 3

// CapRTMR is [Cap] for a TDX machine: it extends RTMR n, 2 or 3, with event. Errors wrap
// [ErrNoRTMR] where there is none, and [ErrConfig] for another register.
func CapRTMR(h Hardware, n int, event string) error {
	if err := CheckCapRTMR(n); err != nil {
		return err
	}
	return tdx.Extend(h.path("", tdx.DefaultMeasurements), n, []byte(event))
}

// CheckCapRTMR refuses a register that [CapRTMR] does not take: those of the firmware.
func CheckCapRTMR(n int) error {
	if n != 2 && n != 3 {
		return fmt.Errorf("%w: RTMR %d cannot be the cap: want 2 or 3", ErrConfig, n)
	}
	return nil
}

// Shown says which of the registers that [Cap] and [CapRTMR] extend evidence of a type
// shows.
type Shown struct {
	Type      string // of the evidence, "" when the broker does not say
	PCR, RTMR bool
}

// shown: the evidence of a TD shows its RTMRs alone, that of SNP and Nitro neither; every
// other is signed by a TPM.
func shown(t attest.Type) Shown {
	s := Shown{Type: string(t)}
	switch base, _ := t.Base(); base {
	case attest.TypeTDX:
		s.RTMR = true
	case attest.TypeSNP, attest.TypeNitro:
	default:
		s.PCR = true
	}
	return s
}

// Shown says what the evidence shows that the key was released for.
func (r *Released) Shown() Shown {
	if r.Record == nil || r.Record.Evidence == nil {
		return shown("")
	}
	return shown(attest.Type(r.Record.Evidence.Type))
}

// Shown says what this machine's evidence shows, of the platform that is configured or
// detected. A TEE that reports by itself counts before what a TPM says it is part of,
// unlike in [Detect]: a host can put one there with an HCL report in it.
func (h Hardware) Shown(ctx context.Context) Shown {
	if h.Platform != "" {
		return shown(h.Platform)
	}
	m := newHost(h, reportProvider)
	for _, probe := range []func(context.Context) Probe{m.tdx, m.snp, m.nitro} {
		if p := probe(ctx); p.Found {
			return shown(attest.Type(p.Platform))
		}
	}
	return shown(Detect(ctx, h).Platform)
}

// CheckCap refuses a PCR that [Cap] does not take: those of the firmware, and those
// that software can reset.
func CheckCap(n int) error {
	if n < 8 || n > 15 {
		return fmt.Errorf("%w: PCR %d cannot be the cap: want 8 to 15", ErrConfig, n)
	}
	return nil
}
