package snp

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/verified"
)

// chain is a leaf that a trusted root certifies.
type chain struct {
	leaf    *leaf
	issuer  *x509.Certificate // ASK or ASVK
	product *Product
}

// issued says whether parent signed child in its name. Nothing about time.
func issued(parent, child *x509.Certificate) error {
	if !bytes.Equal(parent.RawSubject, child.RawIssuer) {
		return errors.New("issuer of another name")
	}
	return child.CheckSignatureFrom(parent)
}

// chain finds and verifies the chain for a report, or knows it from before by the very
// bytes that came along. The key is what remember takes once the report's signature
// has shown that the sender has more than public certificates.
func (v *Verifier) chain(ctx context.Context, r *report, ends []attest.Endorsement, at time.Time) (c *chain, key [32]byte, rej *attest.Rejection) {
	b, err := newBundle(ends)
	if err != nil {
		return nil, key, attest.Reject(attest.CheckChainUntrusted, "%w", err)
	}
	if c, ok := v.chains.Get(b.hash, at); ok && len(ends) > 0 && c.leaf.key == r.signingKey && match(c.leaf, r) == nil {
		return c, b.hash, nil
	}
	if err := b.parse(); err != nil {
		return nil, key, attest.Reject(attest.CheckChainUntrusted, "%w", err)
	}
	l, fetched, rej := v.find(ctx, r, b, at)
	if rej != nil {
		return nil, key, rej
	}
	c, rej = v.certify(l, b.issuers, at)
	if rej != nil && fetched {
		rej.Check = attest.CheckCollateralInvalid
	}
	return c, b.hash, rej
}

// remember keeps the chain of a bundle until its earliest end.
func (v *Verifier) remember(key [32]byte, c *chain) {
	from, end := c.period()
	v.chains.Put(key, c, from, end)
}

// find picks the leaf for a report: of the key that signed it, of its chip, of its
// TCB. What comes without one is asked of the Endorser, which knows VCEKs only.
func (v *Verifier) find(ctx context.Context, r *report, b *bundle, at time.Time) (l *leaf, fetched bool, rej *attest.Rejection) {
	for _, l := range b.leaves {
		if l.key != r.signingKey {
			continue
		}
		if rej = match(l, r); rej == nil {
			return l, false, nil
		}
		// That a certificate is of another chip is said of genuine ones only.
		if _, forged := v.certify(l, b.issuers, at); forged != nil {
			rej = forged
		}
	}
	switch {
	case rej != nil:
		return nil, false, rej
	case len(b.leaves) > 0:
		return nil, false, attest.Reject(attest.CheckChainUntrusted, "a %s signed the report, and the certificates sent are of none", r.signingKey)
	case b.failed != nil:
		return nil, false, attest.Reject(attest.CheckChainUntrusted, "certificate: %w", b.failed)
	case r.signingKey == VLEK:
		return nil, false, attest.Reject(attest.CheckChainUntrusted, "no VLEK certificate sent: AMD publishes none, the host's certificate table has it")
	case v.cfg.Endorser == nil:
		return nil, false, attest.Reject(attest.CheckChainUntrusted, "no VCEK certificate sent")
	}
	l, rej = v.fetch(ctx, r)
	return l, true, rej
}

// match compares what a leaf says with what the report says.
func match(l *leaf, r *report) *attest.Rejection {
	if line := r.line(); line != "" && line != l.line || line == "" && (r.version > 2 || l.line == Turin) {
		return attest.Reject(attest.CheckChipMismatch, "a certificate of product %.16q for a version %d report of CPU family %02x model %02x", l.line, r.version, r.cpu[0], r.cpu[1])
	}
	if l.key == VCEK && zero(r.chipID) {
		return attest.Reject(attest.CheckChipMismatch, "the host masks its chip id (MASK_CHIP_ID): nothing to compare the certificate's with")
	}
	if !l.ofChip(r.chipID) {
		rej := attest.Reject(attest.CheckChipMismatch, "the %s certificate is of another chip", l.key)
		rej.Expected, rej.Got = hex.EncodeToString(r.chipID), hex.EncodeToString(l.hwid)
		return rej
	}
	reported, err := r.reported.split(l.line)
	if err != nil {
		return attest.Reject(attest.CheckMalformed, "%w", err)
	}
	if reported != l.tcb {
		rej := attest.Reject(attest.CheckTCBMismatch, "the %s certificate is of another TCB than the report", l.key)
		rej.Expected, rej.Got = reported.query(l.line), l.tcb.query(l.line)
		return rej
	}
	return nil
}

// line is the product line by the CPU that the report names; version 2 names none.
func (r *report) line() string {
	if r.version == 2 {
		return ""
	}
	return lineOf(r.cpu[0], r.cpu[1])
}

// fetch asks for the VCEK of the reported TCB.
func (v *Verifier) fetch(ctx context.Context, r *report) (*leaf, *attest.Rejection) {
	line := r.line()
	if line == "" {
		return nil, attest.Reject(attest.CheckChainUntrusted, "no VCEK certificate sent, and a version %d report of CPU family %02x model %02x does not say where to ask", r.version, r.cpu[0], r.cpu[1])
	}
	reported, err := r.reported.split(line)
	if err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "%w", err)
	}
	if zero(r.chipID) {
		return nil, attest.Reject(attest.CheckChipMismatch, "the host masks its chip id (MASK_CHIP_ID): no certificate can be asked for")
	}
	hwid := r.chipID
	if line == Turin {
		hwid = hwid[:hwidSizeTurin]
	}
	need := needVCEK(line, hwid, reported)
	doc, err := v.cfg.Endorser.Endorse(ctx, need)
	if err != nil {
		return nil, attest.Reject(attest.CheckCollateralUnavailable, "VCEK %s: %w", need.ID, err)
	}
	l, err := parseFetched(doc)
	if err == nil {
		if rej := match(l, r); rej != nil {
			err = rej
		}
	}
	if err != nil {
		return nil, attest.Reject(attest.CheckCollateralInvalid, "VCEK %s: %w", need.ID, err)
	}
	return l, nil
}

func parseFetched(doc *attest.Document) (*leaf, error) {
	if len(doc.Data) > maxCert {
		return nil, fmt.Errorf("certificate of %d bytes, limit %d", len(doc.Data), maxCert)
	}
	cert, err := x509.ParseCertificate(doc.Data)
	if err != nil {
		return nil, err
	}
	return parseLeaf(cert)
}

// certify finds the product whose root certifies l, through its own issuer or through
// a newer one that came along.
func (v *Verifier) certify(l *leaf, issuers []*x509.Certificate, at time.Time) (*chain, *attest.Rejection) {
	key := verified.Key(l.cert.Raw)
	if c, ok := v.chains.Get(key, at); ok && len(issuers) == 0 {
		return c, nil
	}
	c, err := v.path(l, issuers)
	if err != nil {
		return nil, attest.Reject(attest.CheckChainUntrusted, "%w", err)
	}
	from, end := c.period()
	if at.Before(from) || at.After(end) {
		return nil, attest.Reject(attest.CheckChainExpired, "the chain holds from %s to %s", from.UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339))
	}
	if len(issuers) == 0 {
		v.chains.Put(key, c, from, end)
	}
	return c, nil
}

// path finds the chain without regard to time.
func (v *Verifier) path(l *leaf, issuers []*x509.Certificate) (*chain, error) {
	for i := range v.products {
		p := &v.products[i]
		own := p.issuer(l.key)
		if p.Name != l.line || own == nil {
			continue
		}
		if issued(own, l.cert) == nil && issued(p.ARK, own) == nil {
			return &chain{l, own, p}, nil
		}
		for _, newer := range issuers {
			if bytes.Equal(newer.RawSubject, own.RawSubject) && issued(p.ARK, newer) == nil && issued(newer, l.cert) == nil {
				return &chain{l, newer, p}, nil
			}
		}
	}
	return nil, fmt.Errorf("no trusted root of product %.16q certifies this %s", l.line, l.key)
}

// period is when every certificate of the chain is valid.
func (c *chain) period() (from, end time.Time) {
	return verified.Period(c.leaf.cert, c.issuer, c.product.ARK)
}
