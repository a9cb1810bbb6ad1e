package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Bounds of a revocation list.
const (
	maxCRL        = 4 << 20 // DER bytes
	maxCRLEntries = 1 << 16
)

// revocations are the lists of those who issued client certificates, by the subject of the
// issuer; nil: nobody is asked for one.
type revocations map[string]*crl

// crl is a list that nobody's signature was verified of yet: its issuer may be an
// intermediate, which comes with a chain.
type crl struct {
	list    *x509.RevocationList
	serials map[string]bool // big-endian bytes
}

// readCRLs reads what is configured. When a list ends is judged at its use, so that an
// old one shuts out those it is about and nobody else.
func readCRLs(ders [][]byte) (revocations, error) {
	if len(ders) == 0 {
		return nil, nil
	}
	out := revocations{}
	for _, der := range ders {
		c, err := parseCRL(der)
		if err != nil {
			return nil, fmt.Errorf("revocation list: %w", err)
		}
		issuer := string(c.list.RawIssuer)
		if out[issuer] != nil {
			return nil, fmt.Errorf("two revocation lists of %q: leave the newer one", c.list.Issuer.String())
		}
		out[issuer] = c
	}
	return out, nil
}

// CheckCRL refuses what could not be one of [Trust.ClientCRLs], for who knows its file.
func CheckCRL(der []byte) error {
	_, err := parseCRL(der)
	return err
}

// parseCRL reads a complete list of one issuer's certificates (RFC 5280 §5).
func parseCRL(der []byte) (*crl, error) {
	if len(der) > maxCRL {
		return nil, fmt.Errorf("%d bytes, limit %d", len(der), maxCRL)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	if len(list.Raw) != len(der) {
		return nil, fmt.Errorf("%d bytes after its end", len(der)-len(list.Raw))
	}
	for _, e := range list.Extensions {
		if e.Critical {
			return nil, fmt.Errorf("critical extension %v: a list of changes, or of a part", e.Id)
		}
	}
	if list.NextUpdate.IsZero() || len(list.RevokedCertificateEntries) > maxCRLEntries {
		return nil, fmt.Errorf("no next update, or more than %d entries", maxCRLEntries)
	}
	c := &crl{list: list, serials: make(map[string]bool, len(list.RevokedCertificateEntries))}
	for _, e := range list.RevokedCertificateEntries {
		for _, x := range e.Extensions {
			if x.Critical {
				return nil, fmt.Errorf("entry with critical extension %v: a certificate of another issuer", x.Id)
			}
		}
		c.serials[serialOf(e.SerialNumber)] = true
	}
	return c, nil
}

func serialOf(n *big.Int) string { return n.Text(16) }

// check refuses a verified chain, a client's certificate first, if one of its certificates
// is revoked or nobody can tell; until is when the first of the lists ends.
func (r revocations) check(chain []*x509.Certificate, now time.Time) (until time.Time, err error) {
	for i, cert := range chain[:len(chain)-1] {
		issuer := chain[i+1]
		c := r[string(issuer.RawSubject)]
		if c == nil {
			return until, fmt.Errorf("no revocation list of %q: add it to client_crl", issuer.Subject.String())
		}
		if err := c.list.CheckSignatureFrom(issuer); err != nil {
			return until, fmt.Errorf("revocation list of %q: %w", issuer.Subject.String(), err)
		}
		if now.After(c.list.NextUpdate) {
			return until, fmt.Errorf("revocation list of %q: its next update was due %s", issuer.Subject.String(), c.list.NextUpdate.UTC().Format(time.RFC3339))
		}
		if c.serials[serialOf(cert.SerialNumber)] {
			return until, errors.New("revoked by its issuer")
		}
		if until.IsZero() || c.list.NextUpdate.Before(until) {
			until = c.list.NextUpdate
		}
	}
	return until, nil
}
