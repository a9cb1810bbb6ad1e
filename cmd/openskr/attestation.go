package main

import (
	"context"
	"crypto/rsa"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/token"
	"github.com/openskr/openskr/internal/api/attestation"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
)

// attestation builds the attestation service on the deployment's keys.
func (b *broker) attestation() (*attestation.Service, error) {
	verifier := currentVerifier{b}
	return attestation.New(attestation.Config{
		Deployment: b.dep.ID, Simulation: b.dep.Simulation, Verifier: verifier, Guests: verifier, Keys: b.attestationKeys(), Now: b.now, Denials: b.denials,
	})
}

func (b *broker) attestationKeys() []jose.CertifiedKey {
	keys := make([]jose.CertifiedKey, len(b.dep.AttestationKeys))
	for i, k := range b.dep.AttestationKeys {
		keys[i] = jose.CertifiedKey{Cert: k.Cert, Key: k.Key}
	}
	return keys
}

// ownTokens is the attestation service as the Key Vault door trusts it: under the hosts
// of the deployment, not under those of vaults.
func (b *broker) ownTokens() (*token.Own, error) {
	set, err := jose.Publish(b.attestationKeys())
	if err != nil {
		return nil, err
	}
	jwks, err := strict.Marshal(set)
	if err != nil {
		return nil, err
	}
	return &token.Own{Deployment: b.dep.ID, Simulation: b.dep.Simulation, Issuers: b.cfg.URLs(), JWKS: jwks, Denials: b.denials}, nil
}

// denials names the deny list of hardware that is in force.
func (b *broker) denials() string { return b.settings.Load().denials }

// complete makes the keys that the store of an earlier version has not.
func (b *broker) complete(ctx context.Context) error {
	return b.dep.Complete(ctx, func() *release.Record { return b.records(ctx, "deployment/rotate") })
}

// Guest implements attestation.GuestVerifier.
func (c currentVerifier) Guest(ctx context.Context, g *format.Guest, ends []attest.Endorsement, want attest.Expect) (*attest.Result, *rsa.PublicKey, error) {
	return c.b.settings.Load().verifiers.Guest(ctx, g, ends, want)
}
