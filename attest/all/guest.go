package all

import (
	"context"
	"crypto/rsa"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
)

// Guest hands what the guest client of Azure Attestation sends to the verifier of its
// type. As in [attest.Set.Verify], a panic below becomes a Rejection.
func (v *Verifiers) Guest(ctx context.Context, g *format.Guest, ends []attest.Endorsement, want attest.Expect) (res *attest.Result, key *rsa.PublicKey, err error) {
	verifier, ok := v.Set[g.Type].(interface {
		Guest(context.Context, *format.Guest, []attest.Endorsement, attest.Expect) (*attest.Result, *rsa.PublicKey, error)
	})
	if !ok {
		return nil, nil, attest.Reject(attest.CheckTypeUnsupported, "evidence type %.32q has no verifier here", g.Type)
	}
	if want.At.IsZero() {
		return nil, nil, attest.Reject(attest.CheckInternal, "no appraisal time given")
	}
	defer attest.Contain(&err)
	return verifier.Guest(ctx, g, ends, want)
}
