package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/openskr/openskr/attest"
	azure "github.com/openskr/openskr/attest/azurecvm/guest"
	"github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/release/wrap"
)

// vtpmGuest is a machine whose keys are in a TPM: on its own, or as a part of
// composite evidence.
type vtpmGuest interface {
	NewRecipient(ctx context.Context, kind guest.Kind, sel guest.Selection) (*guest.Recipient, error)
	Evidence(ctx context.Context, runtimeData []byte, sel guest.Selection, r *guest.Recipient) (attest.Evidence, error)
	Close() error
}

// inVTPM is the attester of such a machine.
type inVTPM struct {
	vtpmGuest
	platform attest.Type
	pcrs     Selection
}

func openTPM(_ context.Context, h *Hardware) (Attester, error) {
	t, err := guest.Open(h.tpm())
	if err != nil {
		return nil, err
	}
	t.EventLog = h.EventLog
	return &inVTPM{t, attest.TypeTPM, h.PCRs}, nil
}

func openAzure(_ context.Context, h *Hardware) (Attester, error) {
	o := azure.Options{Type: h.Platform, TPM: h.tpm(), EventLog: h.EventLog, AKChain: h.akChain}
	if h.Simulator != "" {
		o.IMDS = "unix:" + h.Simulator
	}
	if h.Notice != nil {
		o.Warn = func(err error) { h.Notice("evidence goes without a part: " + err.Error()) }
	}
	m, err := azure.Open(o)
	if err != nil {
		return nil, err
	}
	return &inVTPM{m, h.Platform, h.PCRs}, nil
}

// enrols gives the TPM of a machine whose AK the broker certifies: one with a TPM and
// nothing else.
func (a *Agent) enrols() (*guest.TPM, bool) {
	v, ok := a.device.(*inVTPM)
	if !ok {
		return nil, false
	}
	t, ok := v.vtpmGuest.(*guest.TPM)
	return t, ok
}

func (v *inVTPM) Type() attest.Type { return v.platform }

func (v *inVTPM) NewRecipient(ctx context.Context, kind RecipientKind) (Recipient, error) {
	r, err := v.vtpmGuest.NewRecipient(ctx, kind, v.pcrs)
	if err != nil {
		return nil, err
	}
	return &tpmRecipient{r}, nil
}

func (v *inVTPM) Evidence(ctx context.Context, ask Ask, r Recipient) (attest.Evidence, error) {
	if r == nil {
		return v.vtpmGuest.Evidence(ctx, ask.RuntimeData, v.pcrs, nil)
	}
	t, ok := r.(*tpmRecipient)
	if !ok {
		return attest.Evidence{}, errors.New("this recipient key is not in the TPM")
	}
	return v.vtpmGuest.Evidence(ctx, ask.RuntimeData, v.pcrs, t.key)
}

// tpmRecipient is a key whose classical half never leaves a TPM or vTPM.
type tpmRecipient struct{ key *guest.Recipient }

func (r *tpmRecipient) JWK() []byte { return r.key.JWK }

func (r *tpmRecipient) Close() error { return r.key.Close() }

func (r *tpmRecipient) Open(ctx context.Context, info, aad, ciphertext []byte) ([]byte, error) {
	if r.key.Kind == RSA {
		oaep := func(ct []byte) ([]byte, error) { return r.key.DecryptOAEP(ctx, ct) }
		return wrap.OpenRSA(oaep, r.key.ModulusBytes(), ciphertext)
	}
	sk, err := r.key.Private(ctx)
	if err != nil {
		return nil, fmt.Errorf("recipient key: %w", err)
	}
	return wrap.OpenHPKE(sk, info, aad, ciphertext)
}
