package releasetest

import (
	"context"
	"errors"

	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/release"
)

// Further calls of Ports, in the order of a token that is given.
const (
	CallRoles = "roles.attested_roles"
	CallMint  = "roles.mint"
)

// VaultURL is that of ForVault.
const VaultURL = "https://vault"

// Minter is the port of a TokenBroker, in memory: it stands on p and gives Roles.
type Minter struct {
	*Ports
	Roles  []release.AttestedRole
	Token  []byte // what Mint gives; cleared by the broker
	Minted []release.AttestedToken
}

var _ release.AttestedRoles = (*Minter)(nil)

// NewMinter gives ports that allow a token.
func NewMinter() *Minter {
	p := NewPorts()
	return &Minter{Ports: p, Token: []byte("header.claims.signature"), Roles: []release.AttestedRole{
		{Name: "reader", Generation: 2, Policy: p.Key.Policy, Role: "Key Vault Reader", Scope: "/vaults/vault"},
		{Name: "secrets", Generation: 7, Policy: p.Key.Policy, Role: "Key Vault Secrets User", Scope: "/vaults/vault/secrets/db"},
	}}
}

// TokenConfig gives a TokenBroker's configuration that stands on m.
func (m *Minter) TokenConfig() release.TokenConfig {
	return release.TokenConfig{Roles: m, ParseVault: func(url string) (string, error) {
		if url != VaultURL {
			return "", errors.New("not a vault of this deployment")
		}
		return "vault", nil
	}}
}

// AttestedRoles implements release.AttestedRoles.
func (m *Minter) AttestedRoles(context.Context, string) ([]release.AttestedRole, error) {
	return m.Roles, m.called(CallRoles)
}

// Mint implements release.AttestedRoles.
func (m *Minter) Mint(g *release.TokenGrant) ([]byte, error) {
	if err := m.called(CallMint); err != nil {
		return nil, err
	}
	t, err := g.Use()
	if err != nil {
		return nil, err
	}
	m.Minted = append(m.Minted, t)
	return m.Token, nil
}

// ForVault changes runtime data to that of a token.
func ForVault(r *binding.RuntimeData) { r.Purpose, r.Key, r.Vault = binding.PurposeToken, "", VaultURL }
