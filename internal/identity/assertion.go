package identity

import (
	"context"
	"crypto/sha1" //nolint:gosec // a name of a certificate, no proof
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

// AssertionType is the client_assertion_type of a JWT (RFC 7523 §2.2).
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

const (
	assertionLife = 10 * time.Minute
	maxUsed       = 1 << 16     // remembered of all principals
	maxUsedBy     = maxUsed / 4 // of one, so that no single one keeps the others out
)

// TokenEndpoints are the token endpoints below an authority (https://host[:port]):
// what a client assertion that was sent there may be made for.
func TokenEndpoints(authority, deployment string) []string {
	return []string{authority + "/" + deployment + "/oauth2/v2.0/token", authority + "/" + deployment + "/oauth2/token", authority + "/adfs/oauth2/token"}
}

// asserted proves p by a client assertion: one signed with a certificate of p, whose
// iss is p itself, or a token of an issuer that p is federated with.
func (s *Service) asserted(ctx context.Context, r *TokenRequest, p *Principal) error {
	f, err := jose.SplitForeign(r.Assertion, MaxForm)
	if err != nil {
		return err
	}
	c, err := readClaims(f.Payload)
	if err != nil {
		return err
	}
	iss, err := c.text("iss")
	if err != nil {
		return err
	}
	if iss == p.ID {
		return s.certified(r, p, f, c)
	}
	x, err := s.verifyExternal(ctx, s.trust.Load(), f, s.c.Now())
	if err != nil {
		return err
	}
	sub, err := x.claims.text("sub")
	if err != nil {
		return err
	}
	for _, id := range p.Federated {
		if id.Issuer == iss && id.Subject == sub && x.made([]string{id.Audience}) == nil {
			return nil
		}
	}
	return fmt.Errorf("%.128q of %s for %.128q is not federated with the principal", sub, iss, x.audience)
}

// certified checks an assertion signed by a certificate of p (RFC 7523 §3).
func (s *Service) certified(r *TokenRequest, p *Principal, f *jose.Foreign, c claims) error {
	now := s.c.Now()
	cert, err := p.certificate(f)
	switch {
	case err != nil:
		return err
	case now.Before(cert.NotBefore) || now.After(cert.NotAfter):
		return errors.New("the certificate is out of time")
	case !slices.Contains([]string{"", "JWT", "client-authentication+jwt"}, f.Typ):
		return fmt.Errorf("typ %.64q of a client assertion", f.Typ)
	}
	if err := f.Verify(&jose.ForeignKey{Public: cert.PublicKey}, []string{"RS256", "PS256", "ES256", "ES384"}); err != nil {
		return err
	}
	sub, err := c.text("sub")
	if err != nil {
		return err
	}
	if sub != p.ID {
		return fmt.Errorf("sub %.64q is not the client", sub)
	}
	audience, err := c.audience()
	if err != nil {
		return err
	}
	if len(audience) != 1 || !slices.Contains(TokenEndpoints(r.Authority, s.c.Deployment), audience[0]) {
		return fmt.Errorf("aud %.256q is not the token endpoint", audience)
	}
	exp, err := c.times(now, assertionLife, false)
	if err != nil {
		return err
	}
	id, err := c.text("jti")
	if err != nil {
		return err
	}
	// Clients keep one assertion for all the resources that they ask tokens for (MSAL
	// for Python and JavaScript do), and ask for each of them once.
	return s.used.spend(p.ID, sha256.Sum256([]byte(r.Resource+"\x00"+id)), exp.Unix(), now.Unix())
}

// certificate finds the one of p that the header names by its hash.
func (p *Principal) certificate(f *jose.Foreign) (*x509.Certificate, error) {
	short, long, err := f.Thumbprints()
	if err != nil {
		return nil, err
	}
	if short == nil && long == nil {
		return nil, errors.New("the assertion names no certificate: x5t#S256 or x5t is required")
	}
	for i := range p.Certificates {
		der := p.Certificates[i].DER
		s, l := sha1.Sum(der), sha256.Sum256(der) //nolint:gosec // see above
		if len(der) == 0 || short != nil && [sha1.Size]byte(short) != s || long != nil && [sha256.Size]byte(long) != l {
			continue
		}
		return p.Certificates[i].Parse()
	}
	return nil, errors.New("the assertion's certificate is not one of the principal")
}

// used remembers assertions until they end, in memory: a restart forgets them, which
// leaves whoever took one out of a TLS connection at most its ten minutes.
type used struct {
	mu   sync.Mutex
	ends map[string]map[[32]byte]int64 // by principal; Unix seconds
	n    int                           // in all of them
}

// spend takes key, which ends at end; refused when it was taken before, or when so many
// are live that no more can be remembered.
func (u *used) spend(principal string, key [32]byte, end, now int64) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if e, ok := u.ends[principal][key]; ok && e > now {
		return errors.New("jti was used before for this resource")
	}
	if u.n >= maxUsed {
		for p := range u.ends {
			u.forget(p, now)
		}
	} else if len(u.ends[principal]) >= maxUsedBy {
		u.forget(principal, now)
	}
	if u.n >= maxUsed || len(u.ends[principal]) >= maxUsedBy {
		return &release.Error{Reason: release.ReasonOverloaded, Err: errors.New("too many live client assertions"), Retry: 60}
	}
	if u.ends[principal] == nil {
		u.ends[principal] = map[[32]byte]int64{}
	}
	if _, again := u.ends[principal][key]; !again {
		u.n++
	}
	u.ends[principal][key] = end
	return nil
}

// forget drops what of a principal ended.
func (u *used) forget(principal string, now int64) {
	for k, e := range u.ends[principal] {
		if e <= now {
			delete(u.ends[principal], k)
			u.n--
		}
	}
	if len(u.ends[principal]) == 0 {
		delete(u.ends, principal)
	}
}
