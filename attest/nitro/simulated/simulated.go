// Package simulated is AWS Nitro without AWS: it signs attestation documents under a
// root of its own, for tests and for deployments initialised as a simulation. Whoever
// knows the seed is the hardware.
package simulated

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/nitro"
)

// Platform is one enclave and the authority above it. Its fields may be changed
// before documents are made, not meanwhile.
type Platform struct {
	ModuleID string
	PCRs     map[uint64][]byte // 0 to 15
	Debug    bool              // PCRs 0 to 2 are zero
	NitroTPM bool              // the machine is an EC2 instance with a NitroTPM
	Now      func() time.Time  // clock of the NSM

	Root, Intermediate *x509.Certificate

	rootKey, intermediateKey, leafKey *ecdsa.PrivateKey
}

// Root and intermediate are valid from the first to the second, so that every program
// that knows the seed makes the same.
var (
	validFrom = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	validTo   = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// leafLife is that of the real ones.
const leafLife = 3 * time.Hour

// New makes the platform of a seed: the same keys, certificates and measurements each
// time.
func New(seed [32]byte) (*Platform, error) {
	p := &Platform{ModuleID: "i-00000000000000000-enc0000000000000000", PCRs: map[uint64][]byte{}, Now: time.Now}
	for i := range uint64(16) {
		p.PCRs[i] = make([]byte, sha512.Size384)
	}
	for i, what := range []string{"image", "kernel", "application"} {
		d := sha512.Sum384([]byte("openskr simulated nitro " + what))
		p.PCRs[uint64(i)] = d[:]
	}
	signer := sha512.Sum384([]byte("openskr simulated nitro signer"))
	p.PCRs[8] = signer[:]
	for name, key := range map[string]**ecdsa.PrivateKey{"root": &p.rootKey, "intermediate": &p.intermediateKey, "leaf": &p.leafKey} {
		raw, err := hkdf.Key(sha256.New, seed[:], nil, "openskr simulated nitro "+name, 48)
		if err != nil {
			return nil, err
		}
		if *key, err = ecdsa.ParseRawPrivateKey(elliptic.P384(), raw); err != nil {
			return nil, err
		}
	}
	var err error
	root := authority("simulated.nitro-enclaves", 1, 2)
	if p.Root, err = issue(root, root, p.rootKey, p.rootKey); err != nil {
		return nil, err
	}
	p.Intermediate, err = issue(authority("region.simulated.nitro-enclaves", 2, 0), p.Root, p.intermediateKey, p.rootKey)
	return p, err
}

func authority(name string, serial int64, pathLen int) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{Organization: []string{"OpenSKR simulation"}, CommonName: name},
		NotBefore: validFrom, NotAfter: validTo, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: pathLen, MaxPathLenZero: pathLen == 0,
		SignatureAlgorithm: x509.ECDSAWithSHA384,
	}
}

// issue signs without randomness (RFC 6979), so that a certificate is the same each
// time.
func issue(template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(nil, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("simulated nitro: %w", err)
	}
	return x509.ParseCertificate(der)
}

// LeafTemplate is the certificate of a leaf at that time.
func (p *Platform) LeafTemplate(at time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(at.Unix()), Subject: pkix.Name{CommonName: p.ModuleID + ".simulated"},
		NotBefore: at.Add(-3 * time.Second), NotAfter: at.Add(leafLife), KeyUsage: x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, SignatureAlgorithm: x509.ECDSAWithSHA384,
	}
}

// Leaf certifies the key that signs documents; the template may be another than
// [Platform.LeafTemplate].
func (p *Platform) Leaf(template *x509.Certificate) (*x509.Certificate, error) {
	return issue(template, p.Intermediate, p.leafKey, p.intermediateKey)
}

// Config trusts this platform's root, and has no deny list.
func (p *Platform) Config() nitro.Config {
	return nitro.Config{Type: attest.TypeNitro.Simulated(), Roots: []*x509.Certificate{p.Root}}
}
