package gce

import (
	"crypto/x509"
	_ "embed"
	"encoding/asn1"
	"errors"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm"
)

// Google's two authorities for keys of vTPMs, and the intermediates below them, which
// an instance does not carry. From the URLs below; github.com/google/go-tpm-tools has
// them too (server/ca-certs, v0.4.10). SHA-256 fingerprints, in the files' order:
//
//	roots
//	9bd5285f8fb18502a7947e621ffd470266f49fcd3b73e19a190f690ad32a7caf  https://pki.goog/cloud_integrity/tpm_ek_root_1.crt
//	594759594b9b61524f6c8ef668f7177f7b9066bc0674f2f49fe9e052be78beb2  http://privateca-content-62d71773-0000-21da-852e-f4f5e80d7778.storage.googleapis.com/032bf9d39db4fa06aade/ca.crt
//	intermediates
//	5d8dbcf8c8053dd8ffad711b6219355032b7122c34cac0f90ccb49def69ec504  https://pki.goog/cloud_integrity/tpm_ek_intermediate_2.crt
//	7132b6ea71101f6c51bb58f98c3798c19b65be510eca0344318900510b593178  https://pki.goog/cloud_integrity/tpm_ek_intermediate_3.crt
//	c84de8116dfaf5a908f21e810487791f5437e206d00ad8025050cca6bd2ff627  http://privateca-content-633beb94-0000-25c1-a9d7-001a114ba6e8.storage.googleapis.com/c59a22589ab43a57e3a4/ca.crt
var (
	//go:embed google-roots.pem
	rootsPEM []byte
	//go:embed google-intermediates.pem
	intermediatesPEM []byte
)

// Google gives its pinned roots and intermediates.
func Google() (roots, intermediates []*x509.Certificate, err error) {
	if roots, err = tpm.Certificates(rootsPEM); err != nil {
		return nil, nil, err
	}
	intermediates, err = tpm.Certificates(intermediatesPEM)
	return roots, intermediates, err
}

// certificate is a verified AK certificate.
type certificate struct {
	*tpm.ExternalAK
	instance instance
}

var oidKeyPurposeEK = asn1.ObjectIdentifier{2, 23, 133, 8, 1} // tcg-kp-EKCertificate

// attestationKey reads the AK and verifies its certificate.
func (v *Verifier) attestationKey(raw []byte, ends []attest.Endorsement, at time.Time) (*tpm.AK, *certificate, *attest.Rejection) {
	ak, err := tpm.ParseAK(raw)
	if err != nil {
		return nil, nil, attest.Reject(attest.CheckAKNotTrusted, "%w", err)
	}
	sent, rej := tpm.ReadAKEndorsements(ends)
	if rej != nil {
		return nil, nil, rej
	}
	if sent.Certificate == nil {
		return nil, nil, attest.Reject(attest.CheckAKNotTrusted, "no endorsement of type %s", attest.EndorsementAKCertificate)
	}
	key := sent.Key()
	c, ok := v.certs.Get(key, at)
	if !ok {
		if c, rej = v.verify(sent, at); rej != nil {
			return nil, nil, rej
		}
		v.certs.Put(key, c, c.From, c.To)
	}
	if !c.Covers(ak) {
		return nil, nil, attest.Reject(attest.CheckAKNotTrusted, "the AK certificate is not for the AK of this evidence (name %x)", ak.Name)
	}
	return ak, c, nil
}

func (v *Verifier) verify(sent *tpm.AKEndorsements, at time.Time) (*certificate, *attest.Rejection) {
	ak, rej := sent.Verify(v.cfg.Roots, v.cfg.Intermediates, at)
	if rej != nil {
		return nil, rej
	}
	if err := checkProfile(ak.Certificate); err != nil {
		return nil, attest.Reject(attest.CheckAKNotTrusted, "AK certificate: %w", err)
	}
	c := &certificate{ExternalAK: ak}
	found := false
	for _, e := range ak.Certificate.Extensions {
		if !e.Id.Equal(oidInstance) {
			continue
		}
		i, err := parseInstance(e.Value)
		if err != nil {
			return nil, attest.Reject(attest.CheckAKNotTrusted, "AK certificate: %w", err)
		}
		c.instance, found = *i, true
	}
	if !found {
		return nil, attest.Reject(attest.CheckAKNotTrusted, "AK certificate: it names no instance")
	}
	if !c.instance.production {
		return nil, attest.Reject(attest.CheckDebug, "AK certificate: the vTPM is not of Google's production")
	}
	return c, nil
}

// checkProfile tells a certificate for signatures of a vTPM from any other below the
// same roots, an EK's first of all: its key usage is digital signature alone, and its
// extended one, where it has one, that of TPM keys.
func checkProfile(c *x509.Certificate) error {
	if c.IsCA || c.KeyUsage != x509.KeyUsageDigitalSignature {
		return errors.New("not for signatures alone")
	}
	if len(c.ExtKeyUsage) > 0 || len(c.UnknownExtKeyUsage) > 1 || len(c.UnknownExtKeyUsage) == 1 && !c.UnknownExtKeyUsage[0].Equal(oidKeyPurposeEK) {
		return errors.New("extended key usage is not that of TPM keys")
	}
	return nil
}
