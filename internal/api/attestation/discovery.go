package attestation

import (
	"context"

	"github.com/openskr/openskr/internal/api/route"
)

// Discovery answers GET /.well-known/openid-configuration (wire format: §5.8).
type Discovery struct {
	Issuer        string   `json:"issuer"`
	JWKS          string   `json:"jwks_uri"`
	Claims        []string `json:"claims_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	ResponseTypes []string `json:"response_types_supported"`
	// Azure's document names a revocation endpoint, which nobody asks and nothing
	// answers. Here is none.
}

// issuer is the iss of tokens for a client that reached this broker at host, one of
// those configured.
func issuer(host string) string { return "https://" + host }

func keySetURL(host string) string { return issuer(host) + "/certs" }

func (s *Service) discovery(_ context.Context, c *route.Call) (any, error) {
	return Discovery{
		Issuer: issuer(c.Host), JWKS: keySetURL(c.Host), Algorithms: []string{"RS256"}, ResponseTypes: []string{"token", "none"},
		Claims: []string{
			"iss", "iat", "nbf", "exp", "jti", "nonce", "x-ms-ver", "x-ms-attestation-type", "x-ms-policy-hash", "x-ms-compliance-status",
			"x-ms-runtime", "x-ms-inittime", "x-openskr",
		},
	}, nil
}

func (s *Service) certificates(context.Context, *route.Call) (any, error) { return s.keys, nil }
