package main

import (
	"github.com/openskr/openskr/internal/api"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

// attestedTokens are the access tokens of machines: who gets one, and what makes and
// authenticates them.
type attestedTokens struct {
	roles *identity.Attested
	give  *release.TokenBroker
}

func (b *broker) attestedTokens(core *release.Broker, accepted jose.Keys) (t attestedTokens, err error) {
	signer, err := jose.NewSigner(b.dep.TokenKeys[0], jose.TypeAttestedToken)
	if err != nil {
		return t, err
	}
	if t.roles, err = identity.NewAttested(identity.AttestedConfig{
		Deployment: b.dep.ID, Objects: b.log.ObjectsFor(api.Right), Signer: signer, Keys: accepted, Check: b.engine.Check, Settings: b.digest, Now: b.now,
	}); err != nil {
		return t, err
	}
	t.give, err = release.NewTokenBroker(core, release.TokenConfig{ParseVault: b.keys.ParseVault, Roles: t.roles})
	return t, err
}
