package tpm

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/verified"
)

// maxOthers bounds the certificates beside the AK's.
const maxOthers = 8

// AKEndorsements are what endorsements of composite evidence hold for its AK.
type AKEndorsements struct {
	Certificate []byte              // the AK's, DER; nil: there is none
	others      []*x509.Certificate // all others: some may help to the root, those of the hardware do no harm
}

// ReadAKEndorsements finds the one AK certificate and all others. Certificate tables
// are the hardware's own, and not read.
func ReadAKEndorsements(ends []attest.Endorsement) (*AKEndorsements, *attest.Rejection) {
	if len(ends) > maxChain {
		return nil, attest.Reject(attest.CheckMalformed, "%d endorsements, limit %d", len(ends), maxChain)
	}
	out := &AKEndorsements{}
	for _, e := range ends {
		switch e.Type {
		case attest.EndorsementAKCertificate:
			if out.Certificate != nil || len(e.Data) == 0 {
				return nil, attest.Reject(attest.CheckMalformed, "endorsements must have one %s", e.Type)
			}
			out.Certificate = e.Data
		case attest.EndorsementCertificate:
			more, err := Certificates(e.Data)
			if err != nil {
				return nil, attest.Reject(attest.CheckMalformed, "%w", err)
			}
			out.others = append(out.others, more...)
		}
	}
	if len(out.others) > maxOthers {
		return nil, attest.Reject(attest.CheckMalformed, "%d certificates beside the AK's, limit %d", len(out.others), maxOthers)
	}
	return out, nil
}

// Key is the hash of everything that Verify reads of e.
func (e *AKEndorsements) Key() [32]byte {
	parts := [][]byte{e.Certificate}
	for _, c := range e.others {
		parts = append(parts, c.Raw)
	}
	return verified.Key(parts...)
}

// Verify leads the AK's certificate up to one of roots, over intermediates known to
// the caller and over those sent that a root leads to. What the certificate is
// for, the caller judges.
func (e *AKEndorsements) Verify(roots, intermediates []*x509.Certificate, at time.Time) (*ExternalAK, *attest.Rejection) {
	known := slices.Concat(roots, intermediates)
	return verifyExternalAK(e.Certificate, roots, below(known, e.others)[len(roots):], at)
}

// below gives known, and behind it those of sent that it leads to. A stranger's own
// would have x509 try a hundred paths between them.
func below(known, sent []*x509.Certificate) []*x509.Certificate {
	sent = slices.Clone(sent)
	for i := 0; i < len(known); i++ {
		sent = slices.DeleteFunc(sent, func(c *x509.Certificate) bool {
			is := bytes.Equal(c.RawIssuer, known[i].RawSubject) && c.CheckSignatureFrom(known[i]) == nil
			if is {
				known = append(known, c)
			}
			return is
		})
	}
	return known
}

// Certificates reads DER of one or more certificates, or PEM of nothing else, each
// certificate once.
func Certificates(b []byte) ([]*x509.Certificate, error) {
	if len(b) > maxOthers*maxCert {
		return nil, fmt.Errorf("certificates of %d bytes, limit %d", len(b), maxOthers*maxCert)
	}
	der := b
	if bytes.HasPrefix(b, []byte("-----BEGIN ")) {
		der = nil
		for rest := bytes.TrimRight(b, "\r\n\x00"); len(rest) > 0; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
				return nil, errors.New("certificates: not PEM of certificates alone")
			}
			der = append(der, block.Bytes...)
		}
	}
	out, err := x509.ParseCertificates(der)
	if err != nil || len(out) == 0 {
		return nil, fmt.Errorf("certificates: %w", cmp.Or(err, errors.New("none")))
	}
	for i, c := range out {
		if slices.ContainsFunc(out[:i], c.Equal) {
			return nil, errors.New("certificates: one of them twice")
		}
	}
	return out, nil
}
