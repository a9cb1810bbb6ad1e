package guest

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
	tpmguest "github.com/openskr/openskr/attest/tpm/guest"
)

// akCertificate gives what Microsoft says of the AK with that public area, and nothing
// when the vTPM has no certificate. The hardware's report vouches for the AK without
// it, and a broker refuses evidence whose certificate it cannot lead to a root: so one
// that a broker of this build would refuse is an error, and stays here.
func (m *Machine) akCertificate(ctx context.Context, public []byte) ([]attest.Endorsement, error) {
	nv, err := m.tpm.ReadNV(ctx, akCertIndex, format.MaxAKCertificate)
	if errors.Is(err, tpmguest.ErrNoNV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("AK certificate: %w", err)
	}
	c, err := format.ParseAKCertificate(nv)
	if err != nil {
		return nil, err
	}
	if err := isOf(c, public); err != nil {
		return nil, err
	}
	out := []attest.Endorsement{{Type: attest.EndorsementAKCertificate, Data: c.Raw}}
	if len(m.opts.AKChain) > 0 {
		return append(out, attest.Endorsement{Type: attest.EndorsementCertificate, Data: m.opts.AKChain}), nil
	}
	if _, simulated := m.opts.Type.Base(); simulated {
		return out, nil // under a root of its seed, which only its broker has
	}
	roots, below, err := format.Microsoft()
	if err != nil {
		return nil, err
	}
	return out, known(c, roots, below, time.Now())
}

// isOf says whether c is an AK certificate for the key of that public area, whose last
// field the modulus is.
func isOf(c *x509.Certificate, public []byte) error {
	key, ok := c.PublicKey.(*rsa.PublicKey)
	if !ok || !bytes.HasSuffix(public, key.N.Bytes()) {
		return errors.New("AK certificate: not for the AK of this vTPM")
	}
	return format.CheckAKCertificate(c)
}

// known says whether c leads to one of roots now.
func known(c *x509.Certificate, roots, below []*x509.Certificate, at time.Time) error {
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, r := range roots {
		opts.Roots.AddCert(r)
	}
	for _, i := range below {
		opts.Intermediates.AddCert(i)
	}
	if _, err := c.Verify(opts); err != nil {
		return fmt.Errorf("AK certificate: issued by %q, which brokers of this version may not know (give --ak-chain): %w", c.Issuer, err)
	}
	return nil
}
