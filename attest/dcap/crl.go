package dcap

import (
	"context"
	"crypto/x509"
	"math/big"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/verified"
)

// maxDocument bounds a document of collateral in bytes. The longest today, a PCK CRL,
// has some ten kB.
const maxDocument = 4 << 20

// crl is a revocation list whose signature was checked.
type crl struct {
	revoked      map[string]bool // serial numbers
	issued, next time.Time
	number       *big.Int
}

// list gets and checks a CRL that issuer signed.
func (e *Evaluator) list(ctx context.Context, need attest.Need, issuer *x509.Certificate, at time.Time) (*crl, *attest.Rejection) {
	doc, rej := e.fetch(ctx, need)
	if rej != nil {
		return nil, rej
	}
	return e.checkCRL(doc.Data, issuer, at)
}

func (e *Evaluator) checkCRL(der []byte, issuer *x509.Certificate, at time.Time) (*crl, *attest.Rejection) {
	name := verified.Key(der, issuer.Raw)
	if l, ok := e.crls.Get(name, at); ok {
		return l, nil
	}
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, attest.Reject(attest.CheckCollateralInvalid, "CRL: %w", err)
	}
	if err := parsed.CheckSignatureFrom(issuer); err != nil {
		return nil, attest.Reject(attest.CheckCollateralInvalid, "CRL of %s: %w", issuer.Subject.CommonName, err)
	}
	for _, ext := range parsed.Extensions {
		// A critical extension may limit the list to some certificates (RFC 5280 §5.2.5).
		if ext.Critical {
			return nil, attest.Reject(attest.CheckCollateralInvalid, "CRL of %s: critical extension %v is not known here", issuer.Subject.CommonName, ext.Id)
		}
	}
	l := &crl{revoked: map[string]bool{}, issued: parsed.ThisUpdate, next: parsed.NextUpdate, number: parsed.Number}
	if rej := current("CRL of "+issuer.Subject.CommonName, l.issued, l.next, at); rej != nil {
		return nil, rej
	}
	for _, entry := range parsed.RevokedCertificateEntries {
		l.revoked[string(entry.SerialNumber.Bytes())] = true
	}
	e.crls.Put(name, l, l.issued, l.next)
	return l, nil
}

// judge refuses a certificate that is on the list.
func (l *crl) judge(c *x509.Certificate) *attest.Rejection {
	if l.revoked[string(c.SerialNumber.Bytes())] {
		return attest.Reject(attest.CheckCertRevoked, "%s, serial %x, is revoked", c.Subject.CommonName, c.SerialNumber)
	}
	return nil
}

// ahead is how far the clock of Intel may be ahead of ours: it issues documents when
// they are asked for, and a slow clock here makes no forgery of one.
const ahead = 10 * time.Minute

// current refuses collateral from the future, and what is past its next update.
func current(what string, issued, next, at time.Time) *attest.Rejection {
	switch {
	case next.IsZero() || next.Before(issued):
		return attest.Reject(attest.CheckCollateralInvalid, "%s: issued %s, next update %s", what, stamp(issued), stamp(next))
	case at.Add(ahead).Before(issued):
		return attest.Reject(attest.CheckCollateralInvalid, "%s is issued %s, in the future of %s", what, stamp(issued), stamp(at))
	case at.After(next):
		r := attest.Reject(attest.CheckCollateralStale, "%s should have been updated", what)
		r.Expected, r.Got = "an update by "+stamp(next), "appraisal at "+stamp(at)
		return r
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// fetch asks the endorser.
func (e *Evaluator) fetch(ctx context.Context, need attest.Need) (*attest.Document, *attest.Rejection) {
	doc, err := e.cfg.Endorser.Endorse(ctx, need)
	switch {
	case err != nil:
		return nil, attest.Reject(attest.CheckCollateralUnavailable, "%s %s: %w", need.Kind, need.ID, err)
	case doc == nil:
		return nil, attest.Reject(attest.CheckCollateralUnavailable, "%s %s: nothing was given", need.Kind, need.ID)
	}
	return doc, checkSize(doc)
}

func checkSize(doc *attest.Document) *attest.Rejection {
	if len(doc.Data) > maxDocument || len(doc.Chain) > maxDocument {
		return attest.Reject(attest.CheckCollateralInvalid, "document of %d and chain of %d bytes, limit %d", len(doc.Data), len(doc.Chain), maxDocument)
	}
	return nil
}
