package main

import (
	"context"
	"crypto/rsa"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/internal/api/attestation"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

// attestation builds the attestation service on the deployment's keys, which a store of
// an earlier version gets now.
func (b *broker) attestation(ctx context.Context) (*attestation.Service, error) {
	if err := b.dep.Complete(ctx, func() *release.Record { return b.records(ctx, "deployment/rotate") }); err != nil {
		return nil, err
	}
	keys := make([]jose.CertifiedKey, len(b.dep.AttestationKeys))
	for i, k := range b.dep.AttestationKeys {
		keys[i] = jose.CertifiedKey{Cert: k.Cert, Key: k.Key}
	}
	verifier := currentVerifier{b}
	return attestation.New(attestation.Config{
		Deployment: b.dep.ID, Simulation: b.dep.Simulation, Verifier: verifier, Guests: verifier, Keys: keys, Now: b.now,
	})
}

// Guest implements attestation.GuestVerifier.
func (c currentVerifier) Guest(ctx context.Context, g *format.Guest, ends []attest.Endorsement, want attest.Expect) (*attest.Result, *rsa.PublicKey, error) {
	return c.b.settings.Load().verifiers.Guest(ctx, g, ends, want)
}
