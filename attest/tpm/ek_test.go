package tpm_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm"
)

// maker is a TPM manufacturer: a root, an issuing CA and one EK.
type maker struct {
	root, issuing *x509.Certificate
	issuingKey    *ecdsa.PrivateKey
	ek            *rsa.PrivateKey
	area          tpm2.TPMTPublic
}

func newMaker(t testing.TB) *maker {
	t.Helper()
	k := &maker{ek: rsaKey(t, 2048), issuingKey: eccKey(t, elliptic.P256()), area: tpm2.RSAEKTemplate}
	k.area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: k.ek.N.Bytes()})
	rootKey := eccKey(t, elliptic.P256())
	ca := func(name string, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
		tpl := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		if parent == nil {
			parent = tpl
		}
		return certificate(t, tpl, parent, key.Public(), by)
	}
	k.root = ca("root", nil, rootKey, rootKey)
	k.issuing = ca("issuing", k.root, k.issuingKey, rootKey)
	return k
}

func certificate(t testing.TB, tpl, parent *x509.Certificate, pub any, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tpl, parent, pub, by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// san is the critical directory name of the TCG profile.
func san(t testing.TB, names ...asn1.RawValue) pkix.Extension {
	t.Helper()
	v, err := asn1.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: v}
}

func directoryName(t testing.TB) asn1.RawValue {
	t.Helper()
	rdn := pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 23, 133, 2, 1}, Value: "id:00001014"}}}
	b, err := asn1.Marshal(rdn)
	if err != nil {
		t.Fatal(err)
	}
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: b}
}

func (k *maker) certify(t testing.TB, change func(*x509.Certificate)) []byte {
	t.Helper()
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageKeyEncipherment, BasicConstraintsValid: true,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}, ExtraExtensions: []pkix.Extension{san(t, directoryName(t))},
	}
	change(tpl)
	return certificate(t, tpl, k.issuing, k.ek.Public(), k.issuingKey).Raw
}

func (k *maker) verify(public, cert []byte) (*tpm.EK, error) {
	roots := x509.NewCertPool()
	roots.AddCert(k.root)
	return tpm.VerifyEK(public, cert, [][]byte{k.issuing.Raw}, roots, now)
}

func same(*x509.Certificate) {}

func TestVerifyEK(t *testing.T) {
	k := newMaker(t)
	public := tpm2.Marshal(k.area)
	ek, err := k.verify(public, k.certify(t, same))
	if err != nil {
		t.Fatal(err)
	}
	if !ek.Certificate.PublicKey.(*rsa.PublicKey).Equal(k.ek.Public()) || !bytes.Equal(tpm2.Marshal(*ek.PublicArea), public) {
		t.Errorf("EK %+v", ek)
	}
	area := func(change func(*tpm2.TPMTPublic)) []byte {
		p := k.area
		change(&p)
		return tpm2.Marshal(p)
	}
	other := rsaKey(t, 2048)
	sound := k.certify(t, same)
	for name, tc := range map[string]struct {
		public, cert []byte
		want         attest.Check
	}{
		"certificate of another TPM": {area(func(p *tpm2.TPMTPublic) {
			p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: other.N.Bytes()})
		}), sound, attest.CheckAKNotTrusted},
		"signing key":     {area(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SignEncrypt = true }), sound, attest.CheckAKNotTrusted},
		"not restricted":  {area(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = false }), sound, attest.CheckAKNotTrusted},
		"not decrypt":     {area(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Decrypt = false }), sound, attest.CheckAKNotTrusted},
		"not fixedTPM":    {area(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false }), sound, attest.CheckAKNotTrusted},
		"not fixedParent": {area(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedParent = false }), sound, attest.CheckAKNotTrusted},
		"imported":        {area(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SensitiveDataOrigin = false }), sound, attest.CheckAKNotTrusted},
		"SHA-1 name":      {area(func(p *tpm2.TPMTPublic) { p.NameAlg = tpm2.TPMAlgSHA1 }), sound, attest.CheckAKNotTrusted},
		"trailing byte":   {append(bytes.Clone(public), 0), sound, attest.CheckAKNotTrusted},
		"cut":             {public[:len(public)-1], sound, attest.CheckAKNotTrusted},
		"purpose missing": {public, k.certify(t, func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }), attest.CheckAKNotTrusted},
		"TLS certificate": {public, k.certify(t, func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), attest.CheckAKNotTrusted},
		"expired":              {public, k.certify(t, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), attest.CheckChainExpired},
		"not yet valid":        {public, k.certify(t, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), attest.CheckChainExpired},
		"another manufacturer": {public, newMaker(t).certify(t, same), attest.CheckChainUntrusted},
		"no certificate":       {public, nil, attest.CheckChainUntrusted},
		"two names":            {public, k.certify(t, func(c *x509.Certificate) { c.ExtraExtensions[0] = san(t, directoryName(t), directoryName(t)) }), attest.CheckChainUntrusted},
		"name not a directory name": {public, k.certify(t, func(c *x509.Certificate) {
			c.ExtraExtensions[0] = san(t, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 8, Bytes: []byte{0x2a}})
		}), attest.CheckChainUntrusted},
		"another critical extension": {public, k.certify(t, func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}), attest.CheckChainUntrusted},
		"too large": {make([]byte, 5000), sound, attest.CheckMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := k.verify(tc.public, tc.cert)
			wantCheck(t, err, tc.want)
		})
	}
	t.Run("intermediate missing", func(t *testing.T) {
		roots := x509.NewCertPool()
		roots.AddCert(k.root)
		_, err := tpm.VerifyEK(public, sound, nil, roots, now)
		wantCheck(t, err, attest.CheckChainUntrusted)
	})
	t.Run("no roots", func(t *testing.T) {
		_, err := tpm.VerifyEK(public, sound, nil, nil, now)
		wantCheck(t, err, attest.CheckMalformed)
	})
}
