package tpm

import (
	"crypto"
	"crypto/x509"
	"errors"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/verified"
)

// ExternalAK is what a certificate of another authority says about an AK, such as a
// cloud's about those of its vTPMs: who signed it, and when the whole chain is valid.
// It certifies the key alone; the attributes are the AK's own word, which the
// authority is trusted to have seen.
type ExternalAK struct {
	Certificate *x509.Certificate
	Root        *x509.Certificate
	Authority   string // subject of Root
	From, To    time.Time
}

// verifyExternalAK verifies the certificate (DER) of an AK up to roots. No certificate
// has a key beyond [checkCertKey].
func verifyExternalAK(der []byte, roots, intermediates []*x509.Certificate, at time.Time) (*ExternalAK, *attest.Rejection) {
	if len(der) == 0 || len(der) > maxCert || len(intermediates) > 2*maxChain {
		return nil, attest.Reject(attest.CheckMalformed, "AK certificate of %d bytes with %d intermediates, limits %d and %d", len(der), len(intermediates), maxCert, 2*maxChain)
	}
	leaf, err := x509.ParseCertificate(der)
	if err == nil {
		err = checkCertKey(leaf)
	}
	if err == nil {
		err = clearSAN(leaf)
	}
	if err != nil {
		return nil, attest.Reject(attest.CheckChainUntrusted, "AK certificate: %w", err)
	}
	opts := x509.VerifyOptions{CurrentTime: at, Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	for _, c := range roots {
		opts.Roots.AddCert(c)
	}
	for _, c := range intermediates {
		if err := checkCertKey(c); err != nil {
			return nil, attest.Reject(attest.CheckChainUntrusted, "AK chain: %w", err)
		}
		opts.Intermediates.AddCert(c)
	}
	chain, rej := verifyAKChain(leaf, opts)
	if rej != nil {
		if rej.Check == attest.CheckChainExpired { // nobody enrols with another authority
			rej.Err = errors.New("the AK certificate, or one above it, is not valid now")
		}
		return nil, rej
	}
	root := chain[len(chain)-1]
	ak := &ExternalAK{Certificate: leaf, Root: root, Authority: root.Subject.String()}
	ak.From, ak.To = verified.Period(chain...)
	return ak, nil
}

// Covers says whether the certificate is for this AK's key.
func (c *ExternalAK) Covers(ak *AK) bool {
	key, ok := ak.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(c.Certificate.PublicKey)
}

// verifyAKChain tells a leaf out of its time from one without trust.
func verifyAKChain(leaf *x509.Certificate, opts x509.VerifyOptions) ([]*x509.Certificate, *attest.Rejection) {
	opts.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	chains, err := leaf.Verify(opts)
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return nil, expired(invalid.Cert, invalid.Cert.NotBefore, invalid.Cert.NotAfter, opts.CurrentTime)
	}
	if err != nil {
		return nil, attest.Reject(attest.CheckChainUntrusted, "AK certificate: %w", err)
	}
	return chains[0], nil
}
