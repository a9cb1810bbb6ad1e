// Package identity says who calls and what they may do: principals kept as
// objects, a small built-in token service, and the table of roles (roles.go).
//
// A token names a principal and nothing more. Whether the principal still
// exists, is enabled, and which roles it has is read from its object at every
// use, so that a removed role is gone with the next request.
package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

// TokenLife is how long an access token lives. Azure SDKs fetch a new one when
// less than five minutes remain.
const TokenLife = time.Hour

// Config is what a Service stands on; every field is required.
type Config struct {
	Deployment string // id: tenant in URLs, audience of every token
	Objects    Objects
	Signer     Signer    // key of access tokens alone
	Keys       jose.Keys // accepted: the Signer's and, during a rotation, the one before
	// Resources are the resources (https://host[:port], no trailing slash) that a
	// token may be asked for. A token relayed by a foreign vault that advertises
	// our authority but its own resource is so never issued.
	Resources []string
	// Own are the authorities (host[:port], lower case) of this deployment and what
	// those of its vaults end with: none of them is an external issuer.
	Own []string
	// KeySet gives the published JWK set of an external issuer, and when it was
	// fetched. nil: issuers come with a set of their own.
	KeySet func(ctx context.Context, issuer string) (set []byte, fetched time.Time, err error)
	// List lists principals, to find the one of a client certificate. nil: no client
	// certificate proves anybody.
	List func(ctx context.Context, kind, after string, limit int) ([]*release.Object, error)
	// Attested authenticates machines with an attested token. nil: there are none.
	Attested *Attested
	Now      func() time.Time
}

// Objects reads principals; release.Objects satisfies it.
type Objects interface {
	Object(ctx context.Context, kind, name string) (*release.Object, error)
}

// Signer makes the compact JWS of a token.
type Signer interface {
	Sign(payload []byte) (string, error)
}

// Service issues tokens and authenticates them. Safe for concurrent use.
type Service struct {
	c     Config
	trust atomic.Pointer[trust]
	used  used
	// Documents are parsed once: most requests are of few callers.
	parsed parsed
}

// New checks that nothing is missing.
func New(c Config) (*Service, error) {
	if c.Deployment == "" || c.Objects == nil || c.Signer == nil || len(c.Keys) == 0 || c.Now == nil {
		return nil, errors.New("identity: a part of the service is missing")
	}
	s := &Service{c: c, used: used{ends: map[string]map[[32]byte]int64{}}, parsed: newParsed()}
	return s, s.Use(Trust{})
}

// Issuer is the iss of tokens. It names the deployment, not a host, so that
// tokens survive a change of address.
func (s *Service) Issuer() string { return issuerOf(s.c.Deployment) }

func issuerOf(deployment string) string { return "urn:openskr:" + deployment }

// Authenticate proves a bearer token and gives the principal with its present
// roles. Errors are *release.Error with ReasonUnauthorized, or what reading the
// principal failed with.
func (s *Service) Authenticate(ctx context.Context, bearer string) (*Caller, error) {
	if s.c.Attested != nil && jose.TypeOf(bearer) == jose.TypeAttestedToken {
		return s.c.Attested.Authenticate(ctx, bearer)
	}
	who, err := s.bearer(ctx, bearer)
	if err != nil {
		return nil, err
	}
	return s.caller(ctx, who)
}

// caller reads what the subject of a proven credential is and may do now.
func (s *Service) caller(ctx context.Context, who *subject) (*Caller, error) {
	p, err := s.principal(ctx, who.id)
	if err != nil {
		return nil, err
	}
	switch {
	case p == nil && who.external: // nobody here but its issuer knows it
		p = &Principal{ID: who.id, Name: who.name}
	case p == nil || !p.Enabled:
		return nil, release.Refuse(release.ReasonUnauthorized, "principal %.64q is gone or disabled", who.id)
	case who.holds != nil && !who.holds(p):
		return nil, release.Refuse(release.ReasonUnauthorized, "the credential is no longer one of principal %.64q", who.id)
	}
	c := &Caller{ID: p.ID, Name: p.Name, State: []release.ObjectState{{Kind: release.ObjectPrincipal, Name: p.ID, Generation: p.generation}}}
	if err := s.entitle(ctx, c); err != nil {
		return nil, err
	}
	c.Assignments = append(c.Assignments, who.assigned...)
	return c, nil
}

// issue makes a token for a proven principal.
func (s *Service) issue(p *Principal) (string, error) {
	now := s.c.Now()
	payload, err := json.Marshal(jose.Claims{
		Issuer: s.Issuer(), Audience: s.c.Deployment, Subject: p.ID, AppID: p.ID, ObjectID: p.ID, Tenant: s.c.Deployment,
		ID: rand.Text(), Issued: now.Unix(), Before: now.Unix(), Expires: now.Add(TokenLife).Unix(),
	})
	if err != nil {
		return "", release.Refuse(release.ReasonInternal, "token: %w", err)
	}
	token, err := s.c.Signer.Sign(payload)
	if err != nil {
		return "", release.Refuse(release.ReasonInternal, "token: %w", err)
	}
	return token, nil
}

// principal reads one; nil when there is none.
func (s *Service) principal(ctx context.Context, id string) (*Principal, error) {
	if !idForm.MatchString(id) {
		return nil, nil
	}
	o, err := s.c.Objects.Object(ctx, release.ObjectPrincipal, id)
	if err != nil && release.ReasonOf(err) == release.ReasonNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.parsed.principal(o)
}
