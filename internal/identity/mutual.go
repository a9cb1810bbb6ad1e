package identity

import (
	"bytes"
	"context"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/openskr/openskr/attest/verified"
	"github.com/openskr/openskr/release"
)

// principalPage is how many principals are read at a time to find a certificate's.
const principalPage = 256

// AuthenticateCertificate gives the principal that the client certificate of a TLS
// connection proves, with its present roles; chain is what the client sent, its own
// first. The chain is held against the roots as they are now, since a connection, or a
// resumed one, outlives an exchange of them. Errors as [Service.Authenticate].
func (s *Service) AuthenticateCertificate(ctx context.Context, chain []*x509.Certificate) (*Caller, error) {
	t, now := s.trust.Load(), s.c.Now()
	if t.cas == nil || len(chain) == 0 {
		return nil, release.Refuse(release.ReasonUnauthorized, "client certificates prove nobody here: client_ca is not set")
	}
	key := verified.Key(chain[0].Raw)
	who, ok := t.holders.Get(key, now)
	if !ok {
		end, err := t.chained(chain, now)
		if err != nil {
			return nil, release.Refuse(release.ReasonUnauthorized, "client certificate: %w", err)
		}
		known := cachedHolder
		who, err = s.holder(ctx, chain[0])
		switch {
		case err != nil && release.ReasonOf(err) != release.ReasonUnauthorized:
			return nil, err
		case err != nil: // finding nobody reads every principal
			who, known = nil, cachedStranger
		}
		if until := now.Add(known); until.Before(end) {
			end = until
		}
		t.holders.Put(key, who, now, end)
		if err != nil {
			return nil, err
		}
	}
	if who == nil {
		return nil, release.Refuse(release.ReasonUnauthorized, "client certificate %q proved nobody a moment ago", chain[0].Subject.String())
	}
	return s.caller(ctx, who)
}

// chained verifies the chain and says when its first certificate, or revocation list, ends.
func (t *trust) chained(chain []*x509.Certificate, now time.Time) (time.Time, error) {
	middle := x509.NewCertPool()
	for _, c := range chain[1:] {
		middle.AddCert(c)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots: t.cas, Intermediates: middle, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return time.Time{}, err
	}
	end := chain[0].NotAfter
	for _, c := range chains[0] {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	if t.revoked == nil {
		return end, nil
	}
	for _, c := range chains { // the client chose what it sent: no way around a list may be among it
		until, err := t.revoked.check(c, now)
		if err != nil {
			return time.Time{}, err
		}
		if !until.IsZero() && until.Before(end) {
			end = until
		}
	}
	return end, nil
}

// holder finds the one principal that the certificate is registered for.
func (s *Service) holder(ctx context.Context, leaf *x509.Certificate) (*subject, error) {
	if s.c.List == nil {
		return nil, release.Refuse(release.ReasonInternal, "principals cannot be listed")
	}
	holds := func(p *Principal) bool { return p.holds(leaf) }
	var who *subject
	for after := ""; ; {
		page, err := s.c.List(ctx, release.ObjectPrincipal, after, principalPage)
		if err != nil {
			return nil, err
		}
		for _, o := range page {
			p, err := DecodePrincipal(o.Name, o.Value)
			if err != nil {
				return nil, release.Refuse(release.ReasonIntegrity, "%w", err)
			}
			if !p.holds(leaf) {
				continue
			}
			if who != nil {
				return nil, release.Refuse(release.ReasonUnauthorized, "client certificate is registered for %s and %s: it proves neither", who.id, p.ID)
			}
			who = &subject{id: p.ID, holds: holds}
		}
		if len(page) < principalPage {
			break
		}
		after = page[len(page)-1].Name
	}
	if who == nil {
		return nil, release.Refuse(release.ReasonUnauthorized, "client certificate %q is registered for no principal", leaf.Subject.String())
	}
	return who, nil
}

// holds says whether the certificate, or a name in it, is registered for p.
func (p *Principal) holds(leaf *x509.Certificate) bool {
	for _, c := range p.Certificates {
		if len(c.DER) > 0 && bytes.Equal(c.DER, leaf.Raw) {
			return true
		}
		kind, name, _ := strings.Cut(c.SAN, ":")
		switch kind {
		case "uri":
			for _, u := range leaf.URIs {
				if u.String() == name {
					return true
				}
			}
		case "dns":
			if slices.ContainsFunc(leaf.DNSNames, func(d string) bool { return strings.ToLower(d) == name }) {
				return true
			}
		}
	}
	return false
}

// AuthenticateBoth is for a caller with both: they must prove the same principal, or
// one of them was taken from somebody.
func (s *Service) AuthenticateBoth(ctx context.Context, bearer string, chain []*x509.Certificate) (*Caller, error) {
	c, err := s.Authenticate(ctx, bearer)
	if err != nil {
		return nil, err
	}
	other, err := s.AuthenticateCertificate(ctx, chain)
	if err != nil {
		return nil, err
	}
	if c.ID != other.ID {
		return nil, release.Refuse(release.ReasonUnauthorized, "token of %s on a connection of %s", c.ID, other.ID)
	}
	return c, nil
}
