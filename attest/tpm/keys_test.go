package tpm_test

import (
	"bytes"
	"crypto"
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
	"github.com/openskr/openskr/attest/tpm/tpmtest"
)

func eccKey(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestParseAK(t *testing.T) {
	for _, key := range []crypto.Signer{eccKey(t, elliptic.P256()), rsaKey(t, 2048)} {
		area := tpmtest.AKTemplate(key.Public())
		ak, err := tpm.ParseAK(tpm2.Marshal(area))
		if err != nil {
			t.Fatal(err)
		}
		name, err := tpm2.ObjectName(&area)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ak.Name, name.Buffer) || !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(ak.Public) {
			t.Errorf("name %x, want %x; key %v", ak.Name, name.Buffer, ak.Public)
		}
	}
}

func TestParseAKRefuses(t *testing.T) {
	ecc := func() tpm2.TPMTPublic { return tpmtest.AKTemplate(eccKey(t, elliptic.P256()).Public()) }
	attrs := func(change func(*tpm2.TPMAObject)) []byte {
		p := ecc()
		change(&p.ObjectAttributes)
		return tpm2.Marshal(p)
	}
	parms := func(curve tpm2.TPMECCCurve, scheme, hash tpm2.TPMAlgID) []byte {
		p := ecc()
		details := tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: hash})
		if scheme == tpm2.TPMAlgECDH {
			details = tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDH, &tpm2.TPMSKeySchemeECDH{HashAlg: hash})
		}
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull}, CurveID: curve, KDF: tpm2.TPMTKDFScheme{Scheme: tpm2.TPMAlgNull},
			Scheme: tpm2.TPMTECCScheme{Scheme: scheme, Details: details},
		})
		return tpm2.Marshal(p)
	}
	rsaArea := func(bits tpm2.TPMKeyBits, exponent uint32, n []byte) []byte {
		p := tpmtest.AKTemplate(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537})
		p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: n}) // as given
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull}, KeyBits: bits, Exponent: exponent,
			Scheme: tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgRSASSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256})},
		})
		return tpm2.Marshal(p)
	}
	odd := bytes.Repeat([]byte{0xff}, 256)
	even := append(bytes.Repeat([]byte{0xff}, 255), 0xfe)
	sound := tpm2.Marshal(ecc())
	offCurve := bytes.Clone(sound)
	offCurve[len(offCurve)-1] ^= 1
	for name, b := range map[string][]byte{
		"empty":                  nil,
		"trailing byte":          append(bytes.Clone(sound), 0),
		"cut":                    sound[:len(sound)-1],
		"off the curve":          offCurve,
		"not restricted":         attrs(func(a *tpm2.TPMAObject) { a.Restricted = false }),
		"does not sign":          attrs(func(a *tpm2.TPMAObject) { a.SignEncrypt = false }),
		"decrypts too":           attrs(func(a *tpm2.TPMAObject) { a.Decrypt = true }),
		"not fixedTPM":           attrs(func(a *tpm2.TPMAObject) { a.FixedTPM = false }),
		"not fixedParent":        attrs(func(a *tpm2.TPMAObject) { a.FixedParent = false }),
		"imported":               attrs(func(a *tpm2.TPMAObject) { a.SensitiveDataOrigin = false }),
		"may be duplicated":      attrs(func(a *tpm2.TPMAObject) { a.EncryptedDuplication = true }),
		"signs certificates":     attrs(func(a *tpm2.TPMAObject) { a.X509Sign = true }),
		"P-192":                  parms(tpm2.TPMECCNistP192, tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA256),
		"BN-256":                 parms(tpm2.TPMECCBNP256, tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA256),
		"P-521":                  parms(tpm2.TPMECCNistP521, tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA256),
		"SHA-1":                  parms(tpm2.TPMECCNistP256, tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA1),
		"SHA-512":                parms(tpm2.TPMECCNistP256, tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA512),
		"ECDH":                   parms(tpm2.TPMECCNistP256, tpm2.TPMAlgECDH, tpm2.TPMAlgSHA256),
		"RSA-1024":               rsaArea(1024, 0, odd[:128]),
		"RSA declared larger":    rsaArea(4096, 0, odd),
		"RSA with leading zero":  rsaArea(2048, 0, append([]byte{0}, odd[:255]...)),
		"RSA with even modulus":  rsaArea(2048, 0, even),
		"RSA with exponent 3":    rsaArea(2048, 3, odd),
		"RSA with empty modulus": rsaArea(2048, 0, nil),
	} {
		if ak, err := tpm.ParseAK(b); err == nil {
			t.Errorf("%s: accepted %v", name, ak)
		}
	}
	if _, err := tpm.ParseAK(rsaArea(2048, 65537, odd)); err != nil {
		t.Errorf("the RSA cases fail for another reason: %v", err)
	}
}

// TestUnrestrictedAK signs a hand-made quote with an ordinary key (EV-17): even
// offline, where no certificate speaks for it.
func TestUnrestrictedAK(t *testing.T) {
	m := machine(t)
	m.AK.ObjectAttributes.Restricted = false
	rd := m.RuntimeData(nonce)
	body, err := m.Body(rd)
	if err != nil {
		t.Fatal(err)
	}
	sound := machine(t)
	ev, err := sound.Pack(body, rd)
	if err != nil {
		t.Fatal(err)
	}
	ev.Endorsements = nil
	v, err := tpm.New(tpm.Config{AllowUncertifiedAK: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), ev, attest.Expect{At: now})
	wantCheck(t, err, attest.CheckAKNotTrusted)
}

// issue makes a certificate of m's CA that need not be an AK certificate.
func issue(t testing.TB, m *tpmtest.Machine, change func(*x509.Certificate)) []byte {
	t.Helper()
	der, err := m.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	sound, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: sound.SerialNumber, Subject: sound.Subject, NotBefore: sound.NotBefore, NotAfter: sound.NotAfter,
		KeyUsage: sound.KeyUsage, UnknownExtKeyUsage: sound.UnknownExtKeyUsage, BasicConstraintsValid: true,
	}
	for _, e := range sound.Extensions {
		if len(e.Id) > 6 && e.Id[5] == 1 && e.Id[6] == 32473 {
			c.ExtraExtensions = append(c.ExtraExtensions, e)
		}
	}
	change(c)
	if der, err = x509.CreateCertificate(rand.Reader, c, m.CA, m.AKKey.Public(), m.CAKey); err != nil {
		t.Fatal(err)
	}
	return der
}

func TestAKCertificateProfile(t *testing.T) {
	m := machine(t)
	ev, err := m.Evidence(m.RuntimeData(nonce))
	if err != nil {
		t.Fatal(err)
	}
	try := func(der []byte) error {
		ev.Endorsements = []attest.Endorsement{{Type: attest.EndorsementAKCertificate, Data: der}}
		_, err := verifier(t, m).Verify(t.Context(), ev, attest.Expect{At: now})
		return err
	}
	if err := try(issue(t, m, func(*x509.Certificate) {})); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*x509.Certificate){
		"TLS server":      func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
		"no purpose":      func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil },
		"another purpose": func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}} },
		"a CA":            func(c *x509.Certificate) { c.IsCA = true; c.KeyUsage |= x509.KeyUsageCertSign },
		"no AK name":      func(c *x509.Certificate) { c.ExtraExtensions = c.ExtraExtensions[1:] },
		"no EK hash":      func(c *x509.Certificate) { c.ExtraExtensions = c.ExtraExtensions[:1] },
		"EK certificate of 31 bytes": func(c *x509.Certificate) {
			c.ExtraExtensions[2].Value = append([]byte{4, 31}, make([]byte, 31)...)
		},
		"EK certificate no octet string": func(c *x509.Certificate) { c.ExtraExtensions[2].Value = []byte{5, 0} },
		"no machine":                     func(c *x509.Certificate) { c.Subject = pkix.Name{} },
		"name of another AK":             func(c *x509.Certificate) { c.ExtraExtensions[0].Value[3] ^= 1 },
		"name with garbage":              func(c *x509.Certificate) { c.ExtraExtensions[0].Value = append(c.ExtraExtensions[0].Value, 0) },
	} {
		t.Run(name, func(t *testing.T) { wantCheck(t, try(issue(t, m, change)), attest.CheckAKNotTrusted) })
	}
	t.Run("issued before the EK certificate's hash was added", func(t *testing.T) {
		der := issue(t, m, func(c *x509.Certificate) { c.ExtraExtensions = c.ExtraExtensions[:2] })
		if err := try(der); err != nil {
			t.Error(err)
		}
	})
	t.Run("unknown critical extension", func(t *testing.T) {
		der := issue(t, m, func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		})
		wantCheck(t, try(der), attest.CheckChainUntrusted)
	})
	t.Run("CA of the same name", func(t *testing.T) {
		der, err := machine(t).Certificate()
		if err != nil {
			t.Fatal(err)
		}
		wantCheck(t, try(der), attest.CheckChainUntrusted)
	})
	t.Run("certificate of another machine", func(t *testing.T) {
		other := machine(t)
		other.CA, other.CAKey = m.CA, m.CAKey
		der, err := other.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		wantCheck(t, try(der), attest.CheckAKNotTrusted)
	})
}

// TestCertifiedEK: both names of an EK that a deny list may hold are in the certificate.
func TestCertifiedEK(t *testing.T) {
	m := machine(t)
	m.EKHash, m.EKCert = [32]byte{1}, [32]byte{2}
	parse := func(der []byte) *x509.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if spki, cert, ok := tpm.CertifiedEK(parse(issue(t, m, func(*x509.Certificate) {}))); !ok || spki != m.EKHash || cert != m.EKCert {
		t.Errorf("%x, %x, %v", spki, cert, ok)
	}
	older := parse(issue(t, m, func(c *x509.Certificate) { c.ExtraExtensions = c.ExtraExtensions[:2] }))
	if spki, cert, ok := tpm.CertifiedEK(older); !ok || spki != m.EKHash || cert != [32]byte{} {
		t.Errorf("%x, %x, %v", spki, cert, ok)
	}
	if _, _, ok := tpm.CertifiedEK(m.CA); ok {
		t.Error("a CA's certificate names an EK")
	}
}

// TestExternalAuthority takes a certificate of another authority for what it
// says: the key, and nothing about a machine.
func TestExternalAuthority(t *testing.T) {
	m, other := machine(t), machine(t)
	ev, err := m.Evidence(m.RuntimeData(nonce))
	if err != nil {
		t.Fatal(err)
	}
	v, err := tpm.New(tpm.Config{ExternalRoots: caOf(m)})
	if err != nil {
		t.Fatal(err)
	}
	res, err := v.Verify(t.Context(), ev, attest.Expect{At: now})
	if err != nil {
		t.Fatal(err)
	}
	if res.Authority != "CN=test AK CA" || res.Identity.ID == m.ID || res.Claims["tpm"].(map[string]any)["ek"] != nil || res.Facts.Revocation != attest.NotChecked {
		t.Errorf("result %+v", res)
	}
	other.CA, other.CAKey = m.CA, m.CAKey
	if ev.Endorsements, err = other.Endorsements(); err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), ev, attest.Expect{At: now})
	wantCheck(t, err, attest.CheckAKNotTrusted)
}

func TestNewRefuses(t *testing.T) {
	m := machine(t)
	der, err := m.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]tpm.Config{
		"no trust":  {},
		"leaf root": {AKRoots: []*x509.Certificate{leaf}},
		"nil root":  {AKRoots: []*x509.Certificate{nil}},
	} {
		if _, err := tpm.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestIssueRefuses(t *testing.T) {
	m := machine(t)
	ak, err := tpm.ParseAK(m.AKPublic())
	if err != nil {
		t.Fatal(err)
	}
	sound := tpm.AKCertificate{MachineID: "m", AKName: ak.Name, NotBefore: now, NotAfter: now.Add(time.Hour), Serial: big.NewInt(1)}
	if _, err := tpm.IssueAKCertificate(m.CA, m.CAKey, ak, sound); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*tpm.AKCertificate){
		"another name": func(c *tpm.AKCertificate) { c.AKName = []byte("x") },
		"no machine":   func(c *tpm.AKCertificate) { c.MachineID = "" },
		"no period":    func(c *tpm.AKCertificate) { c.NotAfter = c.NotBefore },
		"no serial":    func(c *tpm.AKCertificate) { c.Serial = nil },
	} {
		c := sound
		change(&c)
		if _, err := tpm.IssueAKCertificate(m.CA, m.CAKey, ak, c); err == nil {
			t.Errorf("%s: issued", name)
		}
	}
}
