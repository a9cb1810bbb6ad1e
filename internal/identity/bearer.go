package identity

import (
	"context"
	"time"

	"github.com/openskr/openskr/attest/verified"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

// subject is whom a proven credential names, before anything is read about it. It is
// shared by requests and never changed.
type subject struct {
	id   string // UUID: of a principal, or ExternalID
	name string // for people; "" where the principal has one
	// external says that a configured issuer vouches for it: it needs no principal.
	external bool
	assigned []Assignment // by the mapping of its issuer
	// holds says whether the principal still has the credential; nil: no need to ask.
	holds func(*Principal) bool
}

// bearer proves a token. What it proves holds as long as the token does, and is
// remembered; what the subject is and may do is read at every use.
func (s *Service) bearer(ctx context.Context, token string) (*subject, error) {
	t, now := s.trust.Load(), s.c.Now()
	key := verified.Key([]byte(token))
	if who, ok := t.proven.Get(key, now); ok {
		return who, nil
	}
	who, until, err := s.prove(ctx, t, token, now)
	if err != nil {
		return nil, release.Refuse(release.ReasonUnauthorized, "bearer token: %w", err)
	}
	t.proven.Put(key, who, now, until.Add(-time.Nanosecond)) // until itself is too late
	return who, nil
}

// prove verifies a token by whose it says it is, and says how long that holds.
func (s *Service) prove(ctx context.Context, t *trust, token string, now time.Time) (*subject, time.Time, error) {
	f, err := jose.SplitForeign(token, jose.MaxToken)
	if err != nil {
		return nil, time.Time{}, err
	}
	if s.c.Keys[f.KID] != nil { // one of ours, or refused
		c, err := jose.Verify(token, s.c.Keys, jose.Expect{
			Type: jose.TypeAccessToken, Issuer: s.Issuer(), Audience: s.c.Deployment, At: now, MaxLife: TokenLife,
		})
		if err != nil {
			return nil, time.Time{}, err
		}
		return &subject{id: c.Subject}, time.Unix(c.Expires, 0), nil
	}
	x, err := s.verifyExternal(ctx, t, f, now)
	if err != nil {
		return nil, time.Time{}, err
	}
	if err := x.made(x.issuer.Audiences); err != nil {
		return nil, time.Time{}, err
	}
	who, err := x.subject()
	if err != nil {
		return nil, time.Time{}, err
	}
	until := now.Add(cachedForeign) // its key may be withdrawn meanwhile
	if x.expires.Before(until) {
		until = x.expires
	}
	return who, until, nil
}
