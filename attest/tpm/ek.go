package tpm

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
)

var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidKeyPurposeEK   = asn1.ObjectIdentifier{2, 23, 133, 8, 1} // tcg-kp-EKCertificate
)

// EK is an endorsement key that a manufacturer certified.
type EK struct {
	PublicArea  *tpm2.TPMTPublic  // for tpm2.CreateCredential
	Certificate *x509.Certificate // of the key of PublicArea
}

// VerifyEK verifies the TPMT_PUBLIC of an EK and its certificate: the
// certificate chains to roots at that time, is for endorsement keys (TCG EK
// Credential Profile §3.2) and holds the key of the public area, which is a
// restricted decryption key made in and fixed to the TPM. Its name check is the
// caller's credential activation: an EK only decrypts. No certificate given has a
// key beyond [checkCertKey]. Errors are *attest.Rejection with ak_not_trusted,
// chain_untrusted, chain_expired or evidence_malformed.
func VerifyEK(public, certDER []byte, intermediates [][]byte, roots *x509.CertPool, at time.Time) (*EK, error) {
	if len(public) > maxPublic || len(certDER) > maxCert || len(intermediates) > maxIntermediates || roots == nil || at.IsZero() {
		return nil, attest.Reject(attest.CheckMalformed, "EK: public area, certificate or chain too large, or no roots or time")
	}
	area, key, err := parseEK(public)
	if err != nil {
		return nil, attest.Reject(attest.CheckAKNotTrusted, "EK: %w", err)
	}
	cert, rej := verifyEKChain(certDER, intermediates, roots, at)
	if rej != nil {
		return nil, rej
	}
	if !slices.ContainsFunc(cert.UnknownExtKeyUsage, oidKeyPurposeEK.Equal) {
		return nil, attest.Reject(attest.CheckAKNotTrusted, "EK certificate: not issued for endorsement keys")
	}
	if k, ok := key.(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(cert.PublicKey) {
		return nil, attest.Reject(attest.CheckAKNotTrusted, "EK certificate: it certifies another key than the public area's")
	}
	return &EK{area, cert}, nil
}

func verifyEKChain(der []byte, intermediates [][]byte, roots *x509.CertPool, at time.Time) (*x509.Certificate, *attest.Rejection) {
	cert, err := x509.ParseCertificate(der)
	if err == nil {
		err = checkCertKey(cert)
	}
	if err == nil {
		err = clearSAN(cert)
	}
	if err != nil {
		return nil, attest.Reject(attest.CheckChainUntrusted, "EK certificate: %w", err)
	}
	pool := x509.NewCertPool()
	for _, b := range intermediates {
		if len(b) > maxCert {
			return nil, attest.Reject(attest.CheckMalformed, "EK chain: certificate of %d bytes, limit %d", len(b), maxCert)
		}
		c, err := x509.ParseCertificate(b)
		if err == nil {
			err = checkCertKey(c)
		}
		if err != nil {
			return nil, attest.Reject(attest.CheckChainUntrusted, "EK chain: %w", err)
		}
		pool.AddCert(c)
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return nil, attest.Reject(attest.CheckChainExpired, "EK certificate: %w", err)
	}
	if err != nil {
		return nil, attest.Reject(attest.CheckChainUntrusted, "EK certificate: %w; add the manufacturer's root or intermediate", err)
	}
	return cert, nil
}

// parseEK reads exactly one TPMT_PUBLIC. The library reads it, since enrolment
// needs its form; marshalling it again must give the same bytes.
func parseEK(b []byte) (*tpm2.TPMTPublic, crypto.PublicKey, error) {
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](b)
	if err != nil {
		return nil, nil, err
	}
	if again := tpm2.Marshal(area); string(again) != string(b) {
		return nil, nil, errors.New("public area: wrong length or encoding")
	}
	a := area.ObjectAttributes
	if !a.FixedTPM || !a.FixedParent || !a.SensitiveDataOrigin || !a.Restricted || !a.Decrypt || a.SignEncrypt || a.STClear || a.EncryptedDuplication {
		return nil, nil, errors.New("attributes: want a restricted decryption key made in and fixed to the TPM")
	}
	if area.NameAlg != tpm2.TPMAlgSHA256 && area.NameAlg != tpm2.TPMAlgSHA384 {
		return nil, nil, fmt.Errorf("name algorithm %#04x, want SHA-256 or SHA-384", area.NameAlg)
	}
	key, err := tpm2.Pub(*area)
	return area, key, err
}

// clearSAN takes the subject alternative name off the list of critical
// extensions that crypto/x509 does not handle, after checking that it is what
// the TCG profile puts there: exactly one directory name (manufacturer, model,
// version). No other extension is excused.
func clearSAN(c *x509.Certificate) error {
	if !slices.ContainsFunc(c.UnhandledCriticalExtensions, oidSubjectAltName.Equal) {
		return nil
	}
	for _, e := range c.Extensions {
		if e.Id.Equal(oidSubjectAltName) {
			if err := parseSAN(e.Value); err != nil {
				return fmt.Errorf("subject alternative name: %w", err)
			}
		}
	}
	c.UnhandledCriticalExtensions = slices.DeleteFunc(c.UnhandledCriticalExtensions, oidSubjectAltName.Equal)
	return nil
}

// parseSAN checks a GeneralNames of exactly one directoryName (RFC 5280 §4.2.1.6).
func parseSAN(der []byte) error {
	const directoryName = 4
	var names asn1.RawValue
	rest, err := asn1.Unmarshal(der, &names)
	if err != nil || len(rest) > 0 || names.Class != asn1.ClassUniversal || names.Tag != asn1.TagSequence || !names.IsCompound {
		return errors.New("not a sequence of names")
	}
	var name asn1.RawValue
	rest, err = asn1.Unmarshal(names.Bytes, &name)
	if err != nil || len(rest) > 0 || name.Class != asn1.ClassContextSpecific || name.Tag != directoryName || !name.IsCompound {
		return errors.New("not exactly one directory name")
	}
	var rdn pkix.RDNSequence
	if rest, err = asn1.Unmarshal(name.Bytes, &rdn); err != nil || len(rest) > 0 || len(rdn) == 0 {
		return errors.New("not a distinguished name")
	}
	return nil
}
