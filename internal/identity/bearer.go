package identity

import (
	"context"

	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

// subject is whom a proven credential names, before anything is read about it.
type subject struct {
	id string // UUID of a principal
}

// bearer proves a token. What it proves holds as long as the token does; what the
// subject is and may do is read at every use.
func (s *Service) bearer(_ context.Context, token string) (*subject, error) {
	claims, err := jose.Verify(token, s.c.Keys, jose.Expect{
		Type: jose.TypeAccessToken, Issuer: s.Issuer(), Audience: s.c.Deployment, At: s.c.Now(), MaxLife: TokenLife,
	})
	if err != nil {
		return nil, release.Refuse(release.ReasonUnauthorized, "bearer token: %w", err)
	}
	return &subject{id: claims.Subject}, nil
}
