package simulated

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"
)

// Authority plays Microsoft's: it certifies the AKs of vTPMs.
type Authority struct {
	Root, Intermediate *x509.Certificate

	rootKey, key *ecdsa.PrivateKey
}

// All its certificates are valid from the first to the second, so that every program
// that knows the seed makes the same.
var (
	validFrom = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	validTo   = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

var oidKeyPurposeAIK = asn1.ObjectIdentifier{2, 23, 133, 8, 3}

func newAuthority(seed [32]byte) (*Authority, error) {
	a := &Authority{}
	for name, key := range map[string]**ecdsa.PrivateKey{"root": &a.rootKey, "intermediate": &a.key} {
		raw, err := hkdf.Key(sha256.New, seed[:], nil, "openskr simulated azure vtpm "+name, 32)
		if err != nil {
			return nil, err
		}
		raw[0] &= 0x7f // below the order of the curve
		if *key, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), raw); err != nil {
			return nil, err
		}
	}
	root, err := sign(ca("Simulated Virtual TPM Root", 1), nil, &a.rootKey.PublicKey, a.rootKey)
	if err != nil {
		return nil, err
	}
	a.Root = root
	a.Intermediate, err = sign(ca("Simulated Virtual TPM CA", 2), root, &a.key.PublicKey, a.rootKey)
	return a, err
}

func ca(name string, serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{Organization: []string{"OpenSKR simulation"}, CommonName: name},
		NotBefore: validFrom, NotAfter: validTo, KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
}

// certify is the certificate of an AK, which carries the id of its machine.
func (a *Authority) certify(ak *rsa.PublicKey, id string) (*x509.Certificate, error) {
	return sign(&x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: id + ".TrustedVM.simulated"},
		NotBefore: validFrom, NotAfter: validTo, KeyUsage: x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{oidKeyPurposeAIK},
	}, a.Intermediate, ak, a.key)
}

// sign signs without randomness (RFC 6979). Without parent the certificate is its own.
func sign(tmpl, parent *x509.Certificate, key any, by *ecdsa.PrivateKey) (*x509.Certificate, error) {
	if parent == nil {
		parent = tmpl
	}
	der, err := x509.CreateCertificate(nil, tmpl, parent, key, by)
	if err != nil {
		return nil, fmt.Errorf("simulated vTPM authority: %w", err)
	}
	return x509.ParseCertificate(der)
}
