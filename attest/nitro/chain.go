package nitro

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/verified"
)

// AWS's root "aws.nitro-enclaves", G1, valid to 2049-10-28, from
// https://aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip. Its SHA-256
// fingerprint, which AWS publishes beside it, is
// 641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b.
//
//go:embed aws-nitro-root-g1.pem
var rootPEM []byte

// AWSRoot is the AWS Nitro Enclaves root G1, pinned in this source.
func AWSRoot() (*x509.Certificate, error) {
	block, rest := pem.Decode(rootPEM)
	if block == nil || len(rest) > 0 {
		return nil, errors.New("nitro: pinned root is not one certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

// chain is a verified path from a root to the key that signs documents.
type chain struct {
	key       *ecdsa.PublicKey
	authority string
	from, to  time.Time // all certificates are valid then
}

// chain verifies a document's certificates: cabundle[0] is a root, byte for byte, and
// each signed the next, the leaf last.
func (v *Verifier) chain(d *document, at time.Time) (*chain, *attest.Rejection) {
	key := verified.Key(append(slices.Clone(d.bundle), d.leaf)...)
	c, ok := v.chains.Get(key, time.Time{})
	if !ok {
		var err error
		if c, err = v.build(d); err != nil {
			return nil, attest.Reject(attest.CheckChainUntrusted, "certificates: %w", err)
		}
		v.chains.Put(key, c, time.Time{}, time.Time{})
	}
	if at.Before(c.from) || at.After(c.to) {
		rej := attest.Reject(attest.CheckChainExpired, "a certificate of the document is not valid at the time of appraisal")
		rej.Expected = c.from.UTC().Format(time.RFC3339) + " to " + c.to.UTC().Format(time.RFC3339)
		rej.Got = at.UTC().Format(time.RFC3339)
		return nil, rej
	}
	return c, nil
}

// build verifies the path at a time when all of it is valid; the caller compares
// that with the time of appraisal.
func (v *Verifier) build(d *document) (*chain, error) {
	i := slices.IndexFunc(v.cfg.Roots, func(c *x509.Certificate) bool { return string(c.Raw) == string(d.bundle[0]) })
	if i < 0 {
		return nil, errors.New("the bundle does not start with a trusted root")
	}
	root := v.cfg.Roots[i]
	path := []*x509.Certificate{root} // root first
	for _, der := range d.bundle[1:] {
		c, err := x509.ParseCertificate(der)
		if err == nil {
			err = checkCA(c)
		}
		if err != nil {
			return nil, err
		}
		path = append(path, c)
	}
	leaf, err := x509.ParseCertificate(d.leaf)
	if err == nil {
		err = checkLeaf(leaf)
	}
	if err != nil {
		return nil, err
	}
	path = append(path, leaf)
	out := &chain{key: leaf.PublicKey.(*ecdsa.PublicKey), authority: root.Subject.String()}
	if out.from, out.to = verified.Period(path...); out.from.After(out.to) {
		return nil, errors.New("at no time are all certificates valid")
	}
	return out, verifyPath(path, out.from)
}

// verifyPath checks signatures, CA bits, path lengths and name constraints, and that
// the path is the very one the document gave.
func verifyPath(path []*x509.Certificate, at time.Time) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(path[0])
	last := len(path) - 1
	for _, c := range path[1:last] {
		between.AddCert(c)
	}
	found, err := path[last].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return err
	}
	want := slices.Clone(path)
	slices.Reverse(want)
	if !slices.ContainsFunc(found, func(p []*x509.Certificate) bool { return slices.EqualFunc(p, want, (*x509.Certificate).Equal) }) {
		return errors.New("the bundle is not one path in its order")
	}
	return nil
}

// checkCA refuses what may not sign certificates.
func checkCA(c *x509.Certificate) error {
	if c == nil || !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errors.New("not a CA certificate that may sign certificates")
	}
	return checkKey(c)
}

// checkLeaf refuses what may not sign documents.
func checkLeaf(c *x509.Certificate) error {
	if c.IsCA || c.KeyUsage&x509.KeyUsageDigitalSignature == 0 || c.KeyUsage&x509.KeyUsageCertSign != 0 {
		return errors.New("the leaf is not a certificate for signatures only")
	}
	return checkKey(c)
}

// checkKey wants P-384 throughout, as AWS's are, so that no stranger has this
// program verify with a key of a size of his choice.
func checkKey(c *x509.Certificate) error {
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P384() || c.SignatureAlgorithm != x509.ECDSAWithSHA384 {
		return fmt.Errorf("certificate %.64q is not ECDSA on P-384 with SHA-384", c.Subject.CommonName)
	}
	return nil
}
