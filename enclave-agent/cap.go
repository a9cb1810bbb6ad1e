package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/openskr/openskr/attest/tpm/guest"
)

// CapEvent is what [Cap] extends a PCR with: each bank takes its hash of these bytes.
const CapEvent = "openskr cap v1"

// DefaultCap is the PCR that [Cap] is for where nothing else is said.
const DefaultCap = 15

// ErrNoPCR says that this machine has no TPM, and so no PCR to cap.
var ErrNoPCR = errors.New("no TPM on this machine")

// Cap extends PCR n, 8 to 15, of this machine's TPM with [CapEvent], so that a policy
// that wants the value from before releases nothing more until the next boot. Errors
// wrap [ErrNoPCR] where there is no TPM, and [ErrConfig] for another PCR.
func Cap(ctx context.Context, h Hardware, n int) error {
	if err := CheckCap(n); err != nil {
		return err
	}
	if h.Root == "" {
		h.Root = "/"
	}
	t, err := guest.Open(h.tpm())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoPCR, err)
	}
	return errors.Join(t.Extend(ctx, n, []byte(CapEvent)), t.Close())
}

// CheckCap refuses a PCR that [Cap] does not take: those of the firmware, and those
// that software can reset.
func CheckCap(n int) error {
	if n < 8 || n > 15 {
		return fmt.Errorf("%w: PCR %d cannot be the cap: want 8 to 15", ErrConfig, n)
	}
	return nil
}
