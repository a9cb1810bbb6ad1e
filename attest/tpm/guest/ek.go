package guest

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// ekProfile is one kind of EK that a manufacturer may have certified (TCG EK
// Credential Profile for TPM 2.0, 2.6, §2.2.1.4 and annex B).
type ekProfile struct {
	cert       tpm2.TPMHandle // NV index of the certificate
	persistent tpm2.TPMHandle // where the key may stand ready
	template   func() tpm2.TPMTPublic
}

// The range of NV indices for EK certificates and for the CA certificates below
// the manufacturer's root.
const (
	ekRange    tpm2.TPMHandle = 0x01c00000
	chainFirst tpm2.TPMHandle = 0x01c00100
	chainLast  tpm2.TPMHandle = 0x01c001ff
)

const (
	maxHandles = 256
	maxCert    = 8 << 10
)

// ekProfiles in the order of preference: elliptic curves first, because making an
// RSA key takes a hardware TPM seconds.
func ekProfiles() []ekProfile {
	return []ekProfile{
		{0x01c0000a, 0x81010002, func() tpm2.TPMTPublic { return clone(tpm2.ECCEKTemplate) }}, // L-2
		{0x01c00014, 0x81010014, func() tpm2.TPMTPublic { return highECC(tpm2.TPMECCNistP256, tpm2.TPMAlgSHA256, 128, policyB256) }},
		{0x01c00016, 0x81010016, func() tpm2.TPMTPublic { return highECC(tpm2.TPMECCNistP384, tpm2.TPMAlgSHA384, 256, policyB384) }},
		{0x01c00002, 0x81010001, func() tpm2.TPMTPublic { return clone(tpm2.RSAEKTemplate) }}, // L-1
		{0x01c00012, 0x81010012, highRSA}, // H-1
	}
}

// clone keeps the library's template from being changed through ours.
func clone(p tpm2.TPMTPublic) tpm2.TPMTPublic {
	p.AuthPolicy.Buffer = slices.Clone(p.AuthPolicy.Buffer)
	return p
}

// endorsement is an EK in the TPM with its certificate.
type endorsement struct {
	*object
	profile ekProfile
	cert    []byte // DER
	chain   [][]byte
	loaded  bool // must be flushed
}

// loadEK finds an EK whose certificate is in NV and whose key is the one that the
// certificate names. The caller flushes it when loaded is set.
func (t *TPM) loadEK() (*endorsement, error) {
	indices, err := t.nvIndices()
	if err != nil {
		return nil, fmt.Errorf("list NV indices: %w", err)
	}
	profiles := ekProfiles()
	if t.ek != nil {
		profiles = []ekProfile{*t.ek}
	}
	var failed []error
	for _, p := range profiles {
		if !slices.Contains(indices, p.cert) {
			continue
		}
		e, err := t.tryEK(p)
		if err != nil {
			failed = append(failed, fmt.Errorf("EK of certificate %#x: %w", uint32(p.cert), err))
			continue
		}
		e.chain = t.chain(indices)
		return e, nil
	}
	return nil, fmt.Errorf("%w: %w", ErrNoEK, errors.Join(append(failed, fmt.Errorf("%d NV indices looked at", len(indices)))...))
}

func (t *TPM) tryEK(p ekProfile) (*endorsement, error) {
	der, err := t.nvCertificate(p.cert)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if o, err := t.readPublic(p.persistent); err == nil && names(cert, o) {
		return &endorsement{object: o, profile: p, cert: der}, nil
	}
	o, err := t.createPrimary(tpm2.TPMRHEndorsement, p.template())
	if err != nil {
		return nil, err
	}
	if !names(cert, o) {
		err := errors.New("the TPM's key is not the one that its certificate names")
		t.flush(o.handle, &err)
		return nil, err
	}
	return &endorsement{object: o, profile: p, cert: der, loaded: true}, nil
}

// names says whether the certificate is for the key.
func names(cert *x509.Certificate, o *object) bool {
	pub, err := tpm2.Pub(o.public)
	if err != nil {
		return false
	}
	k, ok := pub.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(cert.PublicKey)
}

func (t *TPM) readPublic(h tpm2.TPMHandle) (*object, error) {
	r, err := tpm2.ReadPublic{ObjectHandle: h}.Execute(t)
	if err != nil {
		return nil, err
	}
	pub, err := r.OutPublic.Contents()
	if err != nil {
		return nil, err
	}
	return &object{h, r.Name, *pub}, nil
}

// nvIndices lists the NV indices in the range of EK certificates.
func (t *TPM) nvIndices() ([]tpm2.TPMHandle, error) {
	r, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: uint32(ekRange), PropertyCount: maxHandles}.Execute(t)
	if err != nil {
		return nil, err
	}
	list, err := r.CapabilityData.Data.Handles()
	if err != nil {
		return nil, err
	}
	return list.Handle, nil
}

// nvCertificate reads one certificate. Some manufacturers pad the index.
func (t *TPM) nvCertificate(index tpm2.TPMHandle) ([]byte, error) {
	b, err := t.nvRead(index, maxCert)
	if err != nil {
		return nil, err
	}
	var der asn1.RawValue
	if _, err := asn1.Unmarshal(b, &der); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return der.FullBytes, nil
}

// chain reads the CA certificates that a manufacturer stored beside the EK's: one
// DER sequence over consecutive indices. They help the broker and are judged
// there, so that what does not parse is left out here.
func (t *TPM) chain(indices []tpm2.TPMHandle) (out [][]byte) {
	var all []byte
	for _, i := range indices {
		if i < chainFirst || i > chainLast || len(all) > maxCert {
			continue
		}
		b, err := t.nvRead(i, maxCert)
		if err != nil {
			return nil
		}
		all = append(all, b...)
	}
	for len(all) > 0 && all[0] == 0x30 {
		var der asn1.RawValue
		rest, err := asn1.Unmarshal(all, &der)
		if err != nil {
			return out
		}
		out, all = append(out, der.FullBytes), rest
	}
	return out
}
