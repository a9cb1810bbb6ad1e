package guest

import (
	"context"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// PCRs that [TPM.Extend] takes: not those of the firmware, and none that software can
// set back to zero before the next boot (TCG PC Client PTP §4.6.2: 16 and 23).
const (
	minExtend = 8
	maxExtend = 15
)

// Extend changes PCR n, 8 to 15, in every bank, to the hash of its value and the
// bank's hash of event; nothing but a restart takes that back. The values of a
// recipient that covers n no longer hold.
func (t *TPM) Extend(ctx context.Context, n int, event []byte) error {
	if n < minExtend || n > maxExtend {
		return fmt.Errorf("PCR %d: want %d to %d", n, minExtend, maxExtend)
	}
	return t.exclusive(ctx, func() error {
		_, err := tpm2.PCREvent{
			PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(n), Auth: empty()},
			EventData: tpm2.TPM2BEvent{Buffer: event},
		}.Execute(t)
		if err != nil {
			return fmt.Errorf("TPM2_PCR_Event of PCR %d: %w", n, err)
		}
		return nil
	})
}
