package azurecvm

import (
	"context"
	"crypto/rsa"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/tpm"
	tpmformat "github.com/openskr/openskr/attest/tpm/format"
)

// Guest verifies what the guest client of Azure Attestation sends, in the order of
// [Verifier.Verify]. It gives the key that the vTPM holds for the answer, tied to the
// quoted PCRs. Nothing in it is fresh: the client gets no nonce.
func (v *Verifier) Guest(ctx context.Context, g *format.Guest, ends []attest.Endorsement, want attest.Expect) (*attest.Result, *rsa.PublicKey, error) {
	if g.Type != v.cfg.Type {
		return nil, nil, attest.Reject(attest.CheckTypeNotAllowed, "%s verifier got evidence of type %.32q", v.cfg.Type, g.Type)
	}
	if len(g.TDQuote) > maxQuote || len(g.Runtime) > format.MaxHCL {
		return nil, nil, attest.Reject(attest.CheckMalformed, "TD quote of %d bytes, runtime JSON of %d", len(g.TDQuote), len(g.Runtime))
	}
	hcl := &format.HCL{Kind: format.HCLSNP, Hash: format.HCLSHA256, Report: g.Report, Runtime: g.Runtime}
	if len(g.TDQuote) > 0 {
		if len(g.Report) > 0 {
			return nil, nil, attest.Reject(attest.CheckNotLinked, "a TD quote beside a report")
		}
		hcl.Kind, hcl.Report = format.HCLTDX, nil
	}
	m, rej := v.prove(ctx, hcl, g.TDQuote, nil, ends, want.At)
	if rej != nil {
		return nil, nil, rej
	}
	body := &format.Evidence{Type: v.cfg.Type, TPM: tpmformat.Evidence{
		Type: attest.TypeTPM, Quote: g.TPM.Quote, Signature: g.TPM.Signature, PCRs: g.TPM.PCRs, EventLog: g.TPM.EventLog, Recipient: g.TPM.Recipient,
	}}
	part, key, rej := tpm.AppraiseKey(&body.TPM, m.ak, want)
	if rej == nil {
		rej = v.denied(m)
	}
	if rej != nil {
		rej.Identity = nil // nothing is fresh, so that nobody has proven to be this machine
		return nil, nil, rej
	}
	return v.result(body, m, part), key, nil
}
