package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/release/wrap"
)

// tpmAttester is a TPM whose AK the broker certifies: the one platform that enrols.
type tpmAttester struct {
	*guest.TPM
	pcrs Selection
}

func openTPM(h *Hardware) (Attester, error) {
	t, err := guest.Open(h.TPM)
	if err != nil {
		return nil, err
	}
	t.EventLog = h.EventLog
	return &tpmAttester{t, h.PCRs}, nil
}

func (t *tpmAttester) Type() attest.Type { return attest.TypeTPM }

func (t *tpmAttester) NewRecipient(ctx context.Context, kind RecipientKind) (Recipient, error) {
	r, err := t.TPM.NewRecipient(ctx, kind, t.pcrs)
	if err != nil {
		return nil, err
	}
	return &tpmRecipient{r}, nil
}

func (t *tpmAttester) Evidence(ctx context.Context, ask Ask, r Recipient) (attest.Evidence, error) {
	key, err := inTPM(r)
	if err != nil {
		return attest.Evidence{}, err
	}
	return t.TPM.Evidence(ctx, ask.RuntimeData, t.pcrs, key)
}

// tpmRecipient is a key whose classical half never leaves a TPM or vTPM.
type tpmRecipient struct{ key *guest.Recipient }

// inTPM is the TPM's key of a recipient that its attester made.
func inTPM(r Recipient) (*guest.Recipient, error) {
	if r == nil {
		return nil, nil
	}
	if t, ok := r.(*tpmRecipient); ok {
		return t.key, nil
	}
	return nil, errors.New("this recipient key is not in the TPM")
}

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
