package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/openskr/openskr/attest/verified"
	"github.com/openskr/openskr/internal/jose"
)

// DefaultAlgorithm is what keys of an external issuer sign with whose entry names none.
const DefaultAlgorithm = "RS256"

// Bounds of trust in others.
const (
	DefaultMaxLife = 24 * time.Hour // of an external token, where its issuer's entry says nothing
	maxMaxLife     = 7 * 24 * time.Hour
	keySetMaxAge   = 2 * time.Hour // of a fetched key set: a withdrawn key is refused after that
	cachedTokens   = 4096          // proven tokens remembered
	cachedForeign  = time.Minute   // how long an external token is not verified again
	cachedHolder   = time.Minute   // how long a client certificate is known to be a principal's
	// cachedStranger is how long one is known to be nobody's: so long a registration may
	// take to count for whoever asked too early.
	cachedStranger = 3 * time.Second
)

// Trust is whom else the service believes. It is exchanged as a whole.
type Trust struct {
	Issuers []Issuer
	// ClientCAs are the roots of client certificates; nil: none prove anybody.
	ClientCAs *x509.CertPool
	// ClientCRLs are revocation lists (DER), one of each issuer in the chains of client
	// certificates; none: they are not asked for. With any, a certificate whose issuer has
	// no list here, or an old one, proves nobody.
	ClientCRLs [][]byte
}

// Issuer is an external OIDC issuer.
type Issuer struct {
	Issuer string // iss of its tokens, byte for byte: an https URL
	// Audiences are the aud that its access tokens may have. Empty: its tokens are
	// taken as client assertions of federated principals only.
	Audiences []string
	// JWKS is its key set from a file; nil: from Config.KeySet.
	JWKS []byte
	// Algorithms its keys sign with; default DefaultAlgorithm.
	Algorithms []string
	// Claim names the caller. Default: sub, and of Entra ID oid.
	Claim string
	// MaxLife bounds exp - iat; 0: DefaultMaxLife, at most 7 days.
	MaxLife time.Duration
	Roles   []Mapping
}

// Mapping gives a role to every caller whose token has a claim with a value, or an
// array with it among its members.
type Mapping struct{ Claim, Value, Role, Scope string }

// trust is a Trust that was found sound, with what was verified under it.
type trust struct {
	issuers map[string]*trustedIssuer
	cas     *x509.CertPool
	revoked revocations
	proven  *verified.Cache[*subject]    // by SHA-256 of the token
	holders *verified.Cache[*subject]    // by SHA-256 of the client certificate
	keys    *verified.Cache[jose.KeySet] // by SHA-256 of the document
}

type trustedIssuer struct {
	Issuer
	pinned jose.KeySet
}

// Use puts a new Trust in place, and forgets what was proven under the one before.
func (s *Service) Use(t Trust) error {
	use, err := s.Prepare(t)
	if err == nil {
		use()
	}
	return err
}

// Prepare judges a Trust and gives the function that puts it in place.
func (s *Service) Prepare(t Trust) (use func(), err error) {
	fresh := &trust{
		issuers: map[string]*trustedIssuer{}, cas: t.ClientCAs,
		proven: verified.NewCache[*subject](cachedTokens), holders: verified.NewCache[*subject](cachedTokens),
		keys: verified.NewCache[jose.KeySet](4 * (len(t.Issuers) + 1)),
	}
	if fresh.revoked, err = readCRLs(t.ClientCRLs); err != nil {
		return nil, err
	}
	for _, c := range t.Issuers {
		is, err := s.newIssuer(c)
		if err != nil {
			return nil, fmt.Errorf("oidc issuer %.128q: %w", c.Issuer, err)
		}
		if fresh.issuers[c.Issuer] != nil {
			return nil, fmt.Errorf("oidc issuer %.128q is named twice", c.Issuer)
		}
		fresh.issuers[c.Issuer] = is
	}
	return func() { s.trust.Store(fresh) }, nil
}

func (s *Service) newIssuer(c Issuer) (*trustedIssuer, error) {
	if err := checkIssuerURL(c.Issuer); err != nil {
		return nil, err
	}
	host := strings.ToLower(hostOf(c.Issuer))
	for _, own := range s.c.Own { // a token of our attestation service is no access token
		if own = strings.ToLower(own); host == own || strings.HasSuffix(host, "."+own) {
			return nil, errors.New("is this deployment itself")
		}
	}
	is := &trustedIssuer{Issuer: c}
	if len(is.Algorithms) == 0 {
		is.Algorithms = []string{DefaultAlgorithm}
	}
	for _, a := range is.Algorithms {
		if !slices.Contains(jose.ForeignAlgorithms(), a) {
			return nil, fmt.Errorf("algorithm %.16q is not of %v", a, jose.ForeignAlgorithms())
		}
	}
	if is.MaxLife == 0 {
		is.MaxLife = DefaultMaxLife
	}
	switch {
	case is.MaxLife < time.Minute || is.MaxLife > maxMaxLife:
		return nil, fmt.Errorf("max_life: want 1m to %v", maxMaxLife)
	case slices.Contains(is.Audiences, ""):
		return nil, errors.New("audiences: an empty one")
	case len(is.Audiences) == 0 && len(is.Roles) > 0:
		return nil, errors.New("roles without audiences: name the audience that its access tokens have")
	case is.JWKS == nil && s.c.KeySet == nil:
		return nil, errors.New("no key set given, and none can be fetched")
	}
	for _, m := range is.Roles {
		if err := m.validate(); err != nil {
			return nil, err
		}
	}
	if is.JWKS == nil {
		return is, nil
	}
	var err error
	is.pinned, err = jose.ParseKeySet(is.JWKS)
	return is, err
}

func (m *Mapping) validate() error {
	role, ok := RoleNamed(m.Role)
	switch {
	case m.Claim == "" || m.Value == "":
		return errors.New("roles: claim and value are required")
	case !ok:
		return fmt.Errorf("roles: no role %.64q; docs/roles.md has the list", m.Role)
	case !ValidScope(m.Scope):
		return fmt.Errorf("roles: scope %.128q: want /, /vaults/NAME, /vaults/NAME/keys, /vaults/NAME/keys/NAME or the like of secrets, in lower case", m.Scope)
	case role.Everywhere && m.Scope != Everywhere:
		return fmt.Errorf("roles: %s means something at / only", m.Role)
	}
	return nil
}

func checkIssuerURL(name string) error {
	u, err := url.Parse(name)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.String() != name || len(name) > maxClaim {
		return errors.New("want an https URL as it stands in iss, without user, query or fragment")
	}
	return nil
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// keySet gives the keys of is as they are now.
func (s *Service) keySet(ctx context.Context, t *trust, is *trustedIssuer, now time.Time) (jose.KeySet, error) {
	if is.pinned != nil {
		return is.pinned, nil
	}
	doc, fetched, err := s.c.KeySet(ctx, is.Issuer.Issuer)
	if err != nil {
		return nil, err
	}
	if now.After(fetched.Add(keySetMaxAge)) {
		return nil, fmt.Errorf("key set is of %s, and its issuer gives no newer one", fetched.UTC().Format(time.RFC3339))
	}
	key := verified.Key(doc)
	if keys, ok := t.keys.Get(key, now); ok {
		return keys, nil
	}
	keys, err := jose.ParseKeySet(doc)
	if err != nil {
		return nil, err
	}
	t.keys.Put(key, keys, time.Time{}, time.Time{})
	return keys, nil
}
