package agent

import (
	"context"
	"errors"

	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tpm/guest"
)

// What a program needs to name of package guest.
type (
	RecipientKind = guest.Kind
	Selection     = guest.Selection
)

// Kinds of recipient keys, see package guest.
const (
	Hybrid = guest.Hybrid
	P256   = guest.P256
	RSA    = guest.RSA
)

// MaxRuntimeData bounds runtime data in bytes.
const MaxRuntimeData = binding.MaxSize

// DefaultSelection is sha256, PCRs 0 to 15.
func DefaultSelection() Selection { return guest.DefaultSelection() }

// Evidence collects evidence of this machine's state over any runtime data, in the
// JSON form of attest/tpm/format: for an auditor, not for a release. It needs no
// broker and no agent.json.
func Evidence(ctx context.Context, tpm, eventLog string, pcrs Selection, runtimeData []byte) (body []byte, err error) {
	t, err := guest.Open(tpm)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	t.EventLog = eventLog
	ev, err := t.Evidence(ctx, runtimeData, pcrs, nil)
	if err != nil {
		return nil, err
	}
	return ev.Body, nil
}
