package identity

import (
	"context"
	"errors"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// AttestedConfig is what an Attested stands on; every field is required.
type AttestedConfig struct {
	Deployment string
	Objects    release.Objects
	Signer     Signer    // of typ jose.TypeAttestedToken
	Keys       jose.Keys // accepted
	// Check judges a policy at upload, as those of keys.
	Check    func(ctx context.Context, p release.ReleasePolicy) error
	Settings func() receipt.Digest // digest of the configuration in force
	Now      func() time.Time
}

// Attested keeps attested roles, makes the tokens of machines (release.AttestedRoles)
// and authenticates them. Safe for concurrent use.
type Attested struct{ c AttestedConfig }

// NewAttested checks that nothing is missing.
func NewAttested(c AttestedConfig) (*Attested, error) {
	if c.Deployment == "" || c.Objects == nil || c.Signer == nil || len(c.Keys) == 0 || c.Check == nil || c.Settings == nil || c.Now == nil {
		return nil, errors.New("identity: a part of attested tokens is missing")
	}
	return &Attested{c}, nil
}

// AttestedRoles implements [release.AttestedRoles].
func (a *Attested) AttestedRoles(ctx context.Context, vault string) ([]release.AttestedRole, error) {
	all, err := a.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []release.AttestedRole
	for _, r := range all {
		if scope := narrow(r.Scope, vault); scope != "" && attestable(r.Role) {
			out = append(out, release.AttestedRole{Name: r.Name, Generation: r.Generation, Policy: r.policy(), Role: r.Role, Scope: scope})
		}
	}
	return out, nil
}

// Mint implements [release.AttestedRoles].
func (a *Attested) Mint(g *release.TokenGrant) ([]byte, error) {
	t, err := g.Use()
	if err != nil {
		return nil, err
	}
	issued := t.Issued.Unix()
	c := jose.AttestedClaims{
		Claims: jose.Claims{
			Issuer: issuerOf(a.c.Deployment), Audience: a.c.Deployment, Subject: t.Machine.Name, AppID: t.Machine.Name, ObjectID: t.Machine.Name, Tenant: a.c.Deployment,
			ID: t.ID, Issued: issued, Before: issued, Expires: issued + int64(release.AttestedTokenLife/time.Second),
		},
		Vault: t.Vault, Generation: t.Machine.Generation, Config: t.Config.String(),
	}
	for _, r := range t.Roles {
		c.Roles = append(c.Roles, jose.AttestedState{Name: r.Name, Generation: r.Generation})
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return nil, release.Refuse(release.ReasonInternal, "token: %w", err)
	}
	token, err := a.c.Signer.Sign(payload)
	if err != nil {
		return nil, release.Refuse(release.ReasonInternal, "token: %w", err)
	}
	return []byte(token), nil
}

// Authenticate proves an attested token and that all it rests on is as it was: the
// configuration with its deny lists, the machine, and each attested role. A machine
// whose token was overtaken proves itself anew. Errors are *release.Error with
// ReasonUnauthorized, or what reading failed with.
func (a *Attested) Authenticate(ctx context.Context, bearer string) (*Caller, error) {
	claims, err := jose.VerifyAttested(bearer, a.c.Keys, jose.Expect{
		Type: jose.TypeAttestedToken, Issuer: issuerOf(a.c.Deployment), Audience: a.c.Deployment, At: a.c.Now(), MaxLife: release.AttestedTokenLife,
	})
	if err != nil {
		return nil, release.Refuse(release.ReasonUnauthorized, "attested token: %w", err)
	}
	if claims.Config != a.c.Settings().String() {
		return nil, overtaken("the configuration of the broker")
	}
	c := &Caller{ID: claims.Subject, Name: "attested machine", Machine: true}
	if err := a.stands(ctx, c, claims); err != nil {
		return nil, err
	}
	for _, had := range claims.Roles {
		if err := a.has(ctx, c, claims.Vault, had); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// stands wants the machine as it was: not denied, not approved anew, with its labels.
func (a *Attested) stands(ctx context.Context, c *Caller, claims *jose.AttestedClaims) error {
	m, err := release.EnrolledMachines{Objects: a.c.Objects}.Machine(ctx, claims.Subject)
	switch {
	case err != nil && release.ReasonOf(err) == release.ReasonMachineUnknown:
		m = &release.Machine{}
	case err != nil:
		return err
	case m.Standing() != nil:
		return release.Refuse(release.ReasonUnauthorized, "attested token: %w", m.Standing())
	}
	if m.Epoch != claims.Generation {
		return overtaken("machine " + claims.Subject)
	}
	c.State = append(c.State, release.ObjectState{Kind: release.ObjectMachine, Name: claims.Subject, Generation: m.Epoch})
	return nil
}

// has gives the caller one role of its token.
func (a *Attested) has(ctx context.Context, c *Caller, vault string, had jose.AttestedState) error {
	r, err := a.Get(ctx, had.Name)
	if err != nil && release.ReasonOf(err) != release.ReasonNotFound {
		return err
	}
	if err != nil || r.Generation != had.Generation || !attestable(r.Role) {
		return overtaken("attested role " + had.Name)
	}
	c.Assignments = append(c.Assignments, Assignment{ID: r.Name, Role: r.Role, Scope: narrow(r.Scope, vault)})
	c.State = append(c.State, release.ObjectState{Kind: release.ObjectAttestedRole, Name: r.Name, Generation: r.Generation})
	return nil
}

func overtaken(what string) error {
	return release.Refuse(release.ReasonUnauthorized, "attested token: %s changed since it was given; the machine asks for another", what)
}
