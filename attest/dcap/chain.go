package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/verified"
)

// parsePEM reads exactly n certificates in canonical PEM; line ends may be CRLF, and
// a NUL may end the text, as some hosts have it.
func parsePEM(b []byte, n int) ([]*x509.Certificate, error) {
	text := append(bytes.TrimRight(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), "\n\x00"), '\n')
	var certs []*x509.Certificate
	var canonical bytes.Buffer
	for rest := text; len(certs) < n; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("%d certificates in PEM, want %d", len(certs), n)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
		if err := pem.Encode(&canonical, &pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}); err != nil {
			return nil, err
		}
	}
	if !bytes.Equal(canonical.Bytes(), text) {
		return nil, fmt.Errorf("not exactly %d certificates in plain PEM", n)
	}
	return certs, nil
}

// anchors are the roots trusted.
type anchors []*x509.Certificate

// verify proves that certs, leaf first and root last, are a chain to an anchor: each
// issued by the next, all in time, the last one an anchor or, with the same key, its
// re-issue. It gives the anchor and the period in which all that holds.
func (a anchors) verify(certs []*x509.Certificate, at time.Time) (root *x509.Certificate, from, end time.Time, rej *attest.Rejection) {
	root, err := a.find(certs[len(certs)-1])
	if err != nil {
		return nil, from, end, attest.Reject(attest.CheckChainUntrusted, "%w", err)
	}
	// x509 tries a stranger's key, of any size, before it asks whose it is. Intel's are
	// all on P-256.
	for _, c := range certs[:len(certs)-1] {
		if _, err := p256(c); err != nil {
			return nil, from, end, attest.Reject(attest.CheckChainUntrusted, "%w", err)
		}
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	for _, c := range certs[1 : len(certs)-1] {
		intermediates.AddCert(c)
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		check := attest.CheckChainUntrusted
		if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
			check = attest.CheckChainExpired
		}
		return nil, from, end, attest.Reject(check, "%s: %w", certs[0].Subject.CommonName, err)
	}
	for _, chain := range chains {
		if len(chain) != len(certs) {
			return nil, from, end, attest.Reject(attest.CheckChainUntrusted, "%s is %d steps below the root, not %d", certs[0].Subject.CommonName, len(chain)-1, len(certs)-1)
		}
	}
	from, end = verified.Period(append(certs[:len(certs)-1:len(certs)-1], root)...)
	return root, from, end, nil
}

// find gives the anchor that c is, or is a re-issue of.
func (a anchors) find(c *x509.Certificate) (*x509.Certificate, error) {
	for _, root := range a {
		if bytes.Equal(root.Raw, c.Raw) {
			return root, nil
		}
		if bytes.Equal(root.RawSubjectPublicKeyInfo, c.RawSubjectPublicKeyInfo) && bytes.Equal(root.RawSubject, c.RawSubject) && c.CheckSignatureFrom(root) == nil {
			return root, nil
		}
	}
	return nil, fmt.Errorf("root %q (SHA-256 %x) is not trusted here", c.Subject.CommonName, sha256.Sum256(c.Raw))
}

// verifyRaw checks an ECDSA P-256 signature r ‖ s over SHA-256(msg).
func verifyRaw(key *ecdsa.PublicKey, msg, signature []byte) bool {
	h := sha256.Sum256(msg)
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:64])
	return ecdsa.Verify(key, h[:], r, s)
}

// p256 gives the ECDSA P-256 key of a certificate.
func p256(c *x509.Certificate) (*ecdsa.PublicKey, error) {
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s: not an ECDSA P-256 key", c.Subject.CommonName)
	}
	return key, nil
}
