package snp

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/verified"
)

const (
	maxCRL        = 1 << 20 // DER bytes
	maxCRLEntries = 1 << 14
)

// crlID is how an Endorser knows the list that covers keys of a kind and product.
func crlID(key SigningKey, line string) string { return key.String() + "/" + line }

// revoked asks for the list that the root publishes and refuses a chain that stands
// on it: the issuer, and the leaf too, although AMD gives chips no serial numbers (a
// single chip is refused by [Config.Denied]).
func (v *Verifier) revoked(ctx context.Context, c *chain, at time.Time) (issue time.Time, rej *attest.Rejection) {
	id := crlID(c.leaf.key, c.product.Name)
	doc, err := v.cfg.Endorser.Endorse(ctx, attest.Need{Kind: attest.NeedAMDCRL, ID: id})
	if err != nil {
		return issue, attest.Reject(attest.CheckCollateralUnavailable, "revocation list %s: %w", id, err)
	}
	crl, rej := v.crl(doc.Data, c.product.ARK, at)
	if rej != nil {
		return issue, rej
	}
	for _, cert := range []*x509.Certificate{c.issuer, c.leaf.cert} {
		if crl.has(cert.SerialNumber) {
			return issue, attest.Reject(attest.CheckCertRevoked, "certificate %q, serial %x, is on revocation list %s", cert.Subject.CommonName, cert.SerialNumber, id)
		}
	}
	return crl.issued, nil
}

// crl is a verified revocation list.
type crl struct {
	issued, next time.Time
	number       int64
	serials      map[string]bool // big-endian bytes
}

func (c *crl) has(serial *big.Int) bool { return c.serials[string(serial.Bytes())] }

// crl verifies a list by the root that must have signed it, once until it ends.
func (v *Verifier) crl(der []byte, ark *x509.Certificate, at time.Time) (*crl, *attest.Rejection) {
	key := verified.Key(der, ark.Raw)
	if c, ok := v.crls.Get(key, at); ok {
		return c, nil
	}
	c, err := parseCRL(der, ark)
	if err != nil {
		return nil, attest.Reject(attest.CheckCollateralInvalid, "revocation list: %w", err)
	}
	if at.After(c.next) {
		return nil, attest.Reject(attest.CheckCollateralStale, "revocation list: its next update was due %s", c.next.UTC().Format(time.RFC3339))
	}
	// A list issued after the time of appraisal knows more, not less.
	v.crls.Put(key, c, time.Time{}, c.next)
	return c, nil
}

// parseCRL reads a list and verifies it by its issuer, without regard to time.
func parseCRL(der []byte, ark *x509.Certificate) (*crl, error) {
	if len(der) > maxCRL {
		return nil, fmt.Errorf("%d bytes, limit %d", len(der), maxCRL)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(list.RawIssuer, ark.RawSubject) {
		return nil, errors.New("issuer is not the product's root")
	}
	if err := list.CheckSignatureFrom(ark); err != nil {
		return nil, err
	}
	for _, e := range list.Extensions {
		if e.Critical { // a list of changes, or of a part
			return nil, fmt.Errorf("critical extension %v", e.Id)
		}
	}
	if list.NextUpdate.IsZero() || list.Number == nil || !list.Number.IsInt64() || len(list.RevokedCertificateEntries) > maxCRLEntries {
		return nil, fmt.Errorf("no next update, no number, or more than %d entries", maxCRLEntries)
	}
	c := &crl{issued: list.ThisUpdate, next: list.NextUpdate, number: list.Number.Int64(), serials: map[string]bool{}}
	for _, e := range list.RevokedCertificateEntries {
		c.serials[string(e.SerialNumber.Bytes())] = true
	}
	return c, nil
}

// Inspect implements [attest.Inspector] for AMD's certificates and revocation lists.
func (v *Verifier) Inspect(need attest.Need, doc *attest.Document, at time.Time) (attest.Validity, error) {
	var val attest.Validity
	var rej *attest.Rejection
	switch need.Kind {
	case attest.NeedAMDCRL:
		val, rej = v.inspectCRL(need.ID, doc, at)
	case attest.NeedAMDVCEK:
		val, rej = v.inspectVCEK(need.ID, doc, at)
	default:
		rej = attest.Reject(attest.CheckCollateralInvalid, "SNP has no documents of kind %.32q", need.Kind)
	}
	if rej != nil {
		return attest.Validity{}, rej
	}
	return val, nil
}

func (v *Verifier) inspectCRL(id string, doc *attest.Document, at time.Time) (val attest.Validity, rej *attest.Rejection) {
	kind, line, _ := strings.Cut(id, "/")
	rej = attest.Reject(attest.CheckCollateralInvalid, "revocation list %.32q is of no product known here", id)
	if kind != VCEK.String() && kind != VLEK.String() {
		return val, rej
	}
	for i := range v.products {
		p := &v.products[i]
		if p.Name != line {
			continue
		}
		var c *crl
		switch c, rej = v.crl(doc.Data, p.ARK, at); {
		case rej == nil:
			return attest.Validity{Issued: c.issued, NextUpdate: c.next, Number: c.number}, nil
		case rej.Check == attest.CheckCollateralStale: // this root signed it, so that no other did
			return val, rej
		}
	}
	return val, rej
}

func (v *Verifier) inspectVCEK(id string, doc *attest.Document, at time.Time) (val attest.Validity, rej *attest.Rejection) {
	l, err := parseFetched(doc)
	if err != nil {
		return val, attest.Reject(attest.CheckCollateralInvalid, "VCEK: %w", err)
	}
	if l.key != VCEK || needVCEK(l.line, l.hwid, l.tcb).ID != id {
		return val, attest.Reject(attest.CheckCollateralInvalid, "the certificate is not VCEK %.300q", id)
	}
	c, rej := v.certify(l, nil, at)
	if rej != nil {
		return val, rej
	}
	from, end := c.period()
	return attest.Validity{Issued: from, NextUpdate: end}, nil
}

// needVCEK names the certificate of a chip at a TCB.
func needVCEK(line string, hwid []byte, l levels) attest.Need {
	return attest.Need{Kind: attest.NeedAMDVCEK, ID: fmt.Sprintf("%s/%x?%s", line, hwid, l.query(line))}
}
