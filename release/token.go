package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/release/receipt"
)

// TokenConfig is what a TokenBroker needs besides its Broker; every field is required.
type TokenConfig struct {
	ParseVault func(url string) (vault string, err error) // URL of a vault of this deployment to its name
	Roles      AttestedRoles
}

// AttestedRoles maps what was proven to roles. Implemented by internal/identity.
type AttestedRoles interface {
	// AttestedRoles lists those that can give something in vault, sorted by name.
	AttestedRoles(ctx context.Context, vault string) ([]AttestedRole, error)
	// Mint makes the token that a grant stands for.
	Mint(g *TokenGrant) ([]byte, error)
}

// AttestedRole says that a machine which Policy allows has Role at Scope.
type AttestedRole struct {
	Name        string
	Generation  int64 // of its object
	Policy      ReleasePolicy
	Role, Scope string
}

// TokenBroker gives attested access tokens: to a machine that proves itself as for a
// release, the right to read in one vault for a quarter of an hour, without a stored
// credential (docs/wire/native.md). It stands on the parts of a Broker.
type TokenBroker struct {
	*Broker
	c TokenConfig
}

// NewTokenBroker checks that nothing is missing.
func NewTokenBroker(b *Broker, c TokenConfig) (*TokenBroker, error) {
	if b == nil || c.ParseVault == nil || c.Roles == nil {
		return nil, errors.New("release: a part of the token broker is missing")
	}
	return &TokenBroker{b, c}, nil
}

// Token is [Broker.Release] for a token instead of a key: the same steps in the same
// order, with the same records. Nothing is made before the ALLOW record is durable.
func (t *TokenBroker) Token(ctx context.Context, req Request) (*Released, error) {
	a, err := t.sent(ctx, req, errand{[]string{binding.PurposeToken}, receipt.KindToken, t.vault})
	if err != nil {
		return nil, t.stranger(req, err)
	}
	config := t.Settings() // before what is read of it: a token made under an older one is refused
	t.Fault("admitted")

	result, err := t.Verifier.Verify(ctx, req.Evidence, attest.Expect{At: a.at})
	if err != nil {
		return nil, t.unverified(ctx, req, a, err)
	}
	p := a.proven(t.Broker, req, result)
	p.record.Config = config
	if err := t.identify(ctx, p); err != nil {
		return nil, t.deny(ctx, p, err)
	}
	t.Fault("verified")

	roles, err := t.roles(ctx, p)
	if err != nil {
		return nil, t.deny(ctx, p, err)
	}
	t.Fault("evaluated")

	done, err := t.record(ctx, p)
	if err != nil {
		return nil, err
	}

	g, err := tokenGrant(done, p, roles, t.Now)
	if err != nil {
		return nil, err
	}
	sealed, err := t.mintAndWrap(g, p, done)
	if err != nil {
		return nil, fmt.Errorf("token %d recorded but not delivered: %w", done.Receipt.Index, err)
	}
	t.Fault("wrapped")
	return t.answer(p, done, sealed)
}

// ParseVault gives the vault that a URL of this deployment names.
func (t *TokenBroker) ParseVault(url string) (string, error) { return t.c.ParseVault(url) }

func (t *TokenBroker) vault(rd *binding.RuntimeData) (string, KeyRef, error) {
	vault, err := t.c.ParseVault(rd.Vault)
	return rd.Vault, KeyRef{Vault: vault}, err
}

// roles asks the floor, and then the policy of every attested role of the vault. One
// that fails gives nothing and takes nothing from the others; but when it failed for
// want of time the machine is told to come again, not that it has fewer rights.
func (t *TokenBroker) roles(ctx context.Context, p *proven) ([]AttestedRole, error) {
	in := p.document()
	if err := t.worthy(p, in); err != nil {
		return nil, err
	}
	all, err := t.c.Roles.AttestedRoles(ctx, p.ref.Vault)
	if err != nil {
		return nil, err
	}
	var given []AttestedRole
	var words []string
	for _, r := range all {
		d, err := t.Policy.Evaluate(ctx, r.Policy, in)
		if d.References != (receipt.Digest{}) { // a policy that does not compile reads none
			p.record.References = d.References
		}
		switch {
		case err != nil && ReasonOf(err).Class() == ClassUnavailable:
			return nil, err
		case err != nil:
			words = append(words, r.Name+": "+err.Error())
		case !d.Allow:
			words = append(words, r.Name+": its policy did not allow "+strings.Join(d.Messages, "; "))
		default:
			given = append(given, r)
		}
	}
	if len(all) == 0 {
		return nil, Refuse(ReasonPolicyDenied, "this vault has no attested role: `openskr attested-role add` gives one")
	}
	if len(given) == 0 {
		return nil, Refuse(ReasonPolicyDenied, "none of %d attested roles in this vault allowed: %s", len(all), strings.Join(words, "\n"))
	}
	p.rests(given)
	return given, nil
}

// rests writes down which attested roles are given, for the record and for the append,
// which refuses when one of them changed.
func (p *proven) rests(on []AttestedRole) {
	var names []string
	for _, r := range on {
		names = append(names, r.Name+"@"+strconv.FormatInt(r.Generation, 10))
		if !slices.Contains(p.record.Caller.Roles, r.Role) {
			p.record.Caller.Roles = append(p.record.Caller.Roles, r.Role)
		}
		p.guard.Objects = append(p.guard.Objects, ObjectState{Kind: ObjectAttestedRole, Name: r.Name, Generation: r.Generation})
	}
	p.record.Detail = map[string]string{"attested_roles": strings.Join(names, " ")}
}

// AttestedTokenLife is how long an attested token is good.
const AttestedTokenLife = 15 * time.Minute

// AttestedToken is what a token will say.
type AttestedToken struct {
	ID      string // the correlation id of its record
	Machine ObjectState
	Vault   string
	Roles   []ObjectState  // the attested roles, as they were
	Config  receipt.Digest // of the configuration, and so of the deny lists, that the machine was held against
	Issued  time.Time
}

// TokenGrant is the permission to make one token. Only a TokenBroker makes one, and
// only from a committed ALLOW record; its zero value makes none.
type TokenGrant struct {
	token AttestedToken
	once
}

func tokenGrant(c *Committed, p *proven, roles []AttestedRole, now func() time.Time) (*TokenGrant, error) {
	if c == nil || c.Receipt == nil || c.Record.Decision != receipt.Allow || c.Record.Kind != receipt.KindToken ||
		c.Record.Caller.ID != p.machine.ID || c.Record.Vault != p.ref.Vault || c.Record.Correlation != p.req.Correlation || len(roles) == 0 {
		return nil, Refuse(ReasonInternal, "no allow record for this token")
	}
	return &TokenGrant{once: once{at: c.At, now: now}, token: AttestedToken{
		ID: c.Record.Correlation, Vault: p.ref.Vault, Roles: p.guard.Objects, Config: c.Record.Config, Issued: time.UnixMilli(c.Record.Time),
		Machine: ObjectState{Kind: ObjectMachine, Name: p.machine.ID, Generation: p.machine.Epoch},
	}}, nil
}

// Use gives what the token says, the first time and within [GrantLife].
func (g *TokenGrant) Use() (AttestedToken, error) {
	if g == nil || g.now == nil {
		return AttestedToken{}, Refuse(ReasonInternal, "empty grant")
	}
	if err := g.use(); err != nil {
		return AttestedToken{}, err
	}
	return g.token, nil
}

// mintAndWrap holds the token, and only here.
func (t *TokenBroker) mintAndWrap(g *TokenGrant, p *proven, done *Committed) ([]byte, error) {
	token, err := t.c.Roles.Mint(g)
	defer clear(token)
	if err != nil {
		return nil, err
	}
	t.Fault("opened")
	leaf := receipt.LeafHash(done.Receipt.Leaf)
	return t.Wrapper.Wrap(p.result.Recipient, p.enc, token, receipt.WrapInfo(p.req.Evidence.RuntimeData), leaf[:])
}
