package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/internal/strict"
)

// MaxRuntimeData bounds runtime data in bytes.
const MaxRuntimeData = binding.MaxSize

// Evidence collects evidence of this machine's state over any runtime data: for an
// auditor, not for a release. It needs no broker and no agent.json. It is JSON: a
// TPM's is the body of its format package; any other is in the shape of
// [binding.ReleaseRequest], since endorsements belong to it, without empty members.
// Errors wrap [ErrConfig], for runtime data of more than [MaxRuntimeData] too, or are the
// hardware's.
func Evidence(ctx context.Context, h Hardware, runtimeData []byte) (out []byte, err error) {
	if len(runtimeData) > MaxRuntimeData {
		return nil, fmt.Errorf("%w: runtime data of more than %d bytes, which no verifier takes", ErrConfig, MaxRuntimeData)
	}
	a, err := h.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	ev, err := a.Evidence(ctx, Ask{RuntimeData: runtimeData}, nil)
	if err != nil {
		return nil, err
	}
	if ev.Type == attest.TypeTPM {
		return ev.Body, nil
	}
	return strict.Marshal(struct {
		RuntimeData  attest.Bytes         `json:"runtime_data,omitempty"`
		Evidence     jsontext.Value       `json:"evidence"`
		Endorsements []attest.Endorsement `json:"endorsements,omitempty"`
	}{runtimeData, ev.Body, ev.Endorsements})
}
