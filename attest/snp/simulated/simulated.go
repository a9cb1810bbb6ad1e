// Package simulated is SEV-SNP hardware that anyone can make: reports and
// certificates of the shape of AMD's, under roots that come from a seed. A verifier
// configured with [Platform.Products] reads its evidence with the code that reads
// AMD's. Keys are on P-384 where AMD's roots are RSA.
package simulated

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/snp/format"
	"github.com/openskr/openskr/internal/strict"
)

// Platform is AMD and all its chips. Two platforms of one seed are the same, byte for
// byte. It must not be changed while it is used.
type Platform struct {
	Type  attest.Type      // of the evidence; New sets the simulated one
	Chip  Chip             // that [Platform.Evidence] is of
	Now   func() time.Time // when revocation lists are issued; nil: time.Now
	seed  [32]byte
	lines map[string]line
	// Revoked are serial numbers on the revocation lists of all products.
	Revoked []*big.Int
}

// line is the keys of one product.
type line struct {
	snp.Product
	ark, ask, asvk *ecdsa.PrivateKey
}

// Roots and leaves are valid from and to. The period is fixed so that equal seeds make
// equal certificates.
var (
	From = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	To   = time.Date(2064, 1, 1, 0, 0, 0, 0, time.UTC)
)

// New makes the platform of a seed.
func New(seed [32]byte) (*Platform, error) {
	p := &Platform{Type: attest.TypeSNP.Simulated(), seed: seed, lines: map[string]line{}}
	for i, name := range []string{snp.Milan, snp.Genoa, snp.Turin} {
		l := line{Product: snp.Product{Name: name}}
		var err error
		if l.ark, l.ARK, err = p.ca("ARK-"+name, nil, nil, int64(i+1)*10000); err != nil {
			return nil, err
		}
		if l.ask, l.ASK, err = p.ca("SEV-"+name, l.ARK, l.ark, int64(i+1)*10000+1); err != nil {
			return nil, err
		}
		if l.asvk, l.ASVK, err = p.ca("SEV-VLEK-"+name, l.ARK, l.ark, int64(i+1)*10000+101); err != nil {
			return nil, err
		}
		p.lines[name] = l
	}
	return p, nil
}

// Products are the roots for a verifier's configuration.
func (p *Platform) Products() []snp.Product {
	return []snp.Product{p.lines[snp.Milan].Product, p.lines[snp.Genoa].Product, p.lines[snp.Turin].Product}
}

// derive gives bytes that only the seed and the label determine.
func (p *Platform) derive(label string, n int) ([]byte, error) {
	return hkdf.Key(sha256.New, p.seed[:], nil, "openskr/simulated-snp/v1/"+label, n)
}

func (p *Platform) key(label string) (*ecdsa.PrivateKey, error) {
	// 48 bytes are above the curve's order once in 2^190 seeds, which is then refused.
	raw, err := p.derive("key/"+label, 48)
	if err != nil {
		return nil, err
	}
	return ecdsa.ParseRawPrivateKey(elliptic.P384(), raw)
}

// ca makes a CA certificate, its own issuer when parent is nil.
func (p *Platform) ca(name string, parent *x509.Certificate, by *ecdsa.PrivateKey, serial int64) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	key, err := p.key(name)
	if err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: subject(name), NotBefore: From, NotAfter: To,
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if parent == nil {
		parent, by = tmpl, key
	}
	cert, err := sign(tmpl, parent, &key.PublicKey, by)
	return key, cert, err
}

func subject(name string) pkix.Name {
	return pkix.Name{CommonName: name, Organization: []string{"OpenSKR simulation, not AMD"}}
}

// sign issues a certificate. Without a source of randomness ECDSA is deterministic
// (RFC 6979), which keeps roots of one seed equal.
func sign(tmpl, parent *x509.Certificate, pub crypto.PublicKey, by *ecdsa.PrivateKey) (*x509.Certificate, error) {
	tmpl.SignatureAlgorithm = x509.ECDSAWithSHA384
	der, err := x509.CreateCertificate(nil, tmpl, parent, pub, by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Evidence is what the platform's chip attests over runtime data, with the certificate
// of its key beside it.
func (p *Platform) Evidence(runtimeData []byte) (attest.Evidence, error) {
	var reportData [64]byte
	d := binding.Digest(runtimeData)
	copy(reportData[:], d[:])
	report, err := p.Report(reportData, p.Chip)
	if err != nil {
		return attest.Evidence{}, err
	}
	leaf, err := p.Leaf(p.Chip)
	if err != nil {
		return attest.Evidence{}, err
	}
	body, err := strict.Marshal(format.Evidence{Type: p.Type, Report: report})
	if err != nil {
		return attest.Evidence{}, err
	}
	return attest.Evidence{
		Type: p.Type, Body: body, RuntimeData: runtimeData,
		Endorsements: []attest.Endorsement{{Type: attest.EndorsementCertificate, Data: leaf.Raw}},
	}, nil
}

// Endorser publishes what AMD's Key Distribution Service would: revocation lists, and
// the VCEK of the platform's Chip.
func (p *Platform) Endorser() attest.Endorser { return endorser{p} }

type endorser struct{ p *Platform }

func (e endorser) Endorse(_ context.Context, need attest.Need) (*attest.Document, error) {
	now := e.p.now()
	switch need.Kind {
	case attest.NeedAMDVCEK:
		leaf, err := e.p.Leaf(e.p.Chip)
		if err != nil {
			return nil, err
		}
		if e.p.Chip.VLEK || e.p.need(e.p.Chip) != need {
			return nil, fmt.Errorf("simulated SNP: no certificate %q", need.ID)
		}
		return &attest.Document{Data: leaf.Raw, Fetched: now}, nil
	case attest.NeedAMDCRL:
		der, err := e.p.CRL(need.ID, now)
		if err != nil {
			return nil, err
		}
		return &attest.Document{Data: der, Fetched: now}, nil
	}
	return nil, fmt.Errorf("simulated SNP: nothing of kind %q", need.Kind)
}

func (p *Platform) now() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}
