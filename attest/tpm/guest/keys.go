package guest

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// akLabel makes our AK different from that of other software with the same template.
const akLabel = "openskr ak v1"

// akTemplate is a restricted ECDSA P-256 signing key. As a primary key of a fixed
// template it comes back, the same, after every boot: nothing has to be stored.
func akTemplate() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true,
			NoDA: true, Restricted: true, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: []byte(akLabel)}, Y: tpm2.TPM2BECCParameter{},
		}),
	}
}

// object is a loaded key.
type object struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic
}

func (o *object) auth(s tpm2.Session) tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: o.handle, Name: o.name, Auth: s}
}

// bytes is the TPMT_PUBLIC.
func (o *object) bytes() []byte { return tpm2.Marshal(o.public) }

func (t *TPM) createPrimary(hierarchy tpm2.TPMHandle, template tpm2.TPMTPublic) (*object, error) {
	r, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: hierarchy, Auth: empty()},
		InPublic:      tpm2.New2B(template),
	}.Execute(t)
	if err != nil {
		return nil, err
	}
	pub, err := r.OutPublic.Contents()
	if err != nil {
		t.flush(r.ObjectHandle, &err)
		return nil, err
	}
	return &object{r.ObjectHandle, r.Name, *pub}, nil
}

// loadAK makes our AK, or takes the platform's; the caller unloads it.
func (t *TPM) loadAK() (*object, error) {
	switch {
	case t.AKHandle != 0:
		return t.platformAK(tpm2.TPMHandle(t.AKHandle))
	case len(t.AKTemplate) > 0:
		return t.templateAK()
	}
	ak, err := t.createPrimary(tpm2.TPMRHEndorsement, akTemplate())
	if err != nil {
		return nil, fmt.Errorf("create attestation key: %w", err)
	}
	return ak, nil
}

// platformAK refuses a key whose quotes package tpm would refuse, and one that signs
// with another hash than the PCR digest of a snapshot has.
func (t *TPM) platformAK(h tpm2.TPMHandle) (*object, error) {
	ak, err := t.readPublic(h)
	if err != nil {
		return nil, fmt.Errorf("attestation key %#x: %w", uint32(h), err)
	}
	if !attests(&ak.public) {
		return nil, fmt.Errorf("attestation key %#x is not a restricted key that signs with SHA-256", uint32(h))
	}
	return ak, nil
}

// templateAK makes the AK of a platform that left its template.
func (t *TPM) templateAK() (*object, error) {
	template, err := tpm2.Unmarshal[tpm2.TPMTPublic](t.AKTemplate)
	if err != nil {
		return nil, fmt.Errorf("template of the attestation key: %w", err)
	}
	if !attests(template) {
		return nil, errors.New("template of the attestation key is not of a restricted key that signs with SHA-256")
	}
	ak, err := t.createPrimary(tpm2.TPMRHEndorsement, *template)
	if err != nil {
		return nil, fmt.Errorf("create the platform's attestation key: %w", err)
	}
	return ak, nil
}

func attests(pub *tpm2.TPMTPublic) bool {
	a := pub.ObjectAttributes
	return a.Restricted && a.SignEncrypt && !a.Decrypt && signingHash(pub) == tpm2.TPMAlgSHA256
}

// signingHash is that of a key's RSASSA or ECDSA scheme.
func signingHash(pub *tpm2.TPMTPublic) tpm2.TPMIAlgHash {
	if p, err := pub.Parameters.RSADetail(); err == nil {
		if s, err := p.Scheme.Details.RSASSA(); err == nil {
			return s.HashAlg
		}
	}
	if p, err := pub.Parameters.ECCDetail(); err == nil {
		if s, err := p.Scheme.Details.ECDSA(); err == nil {
			return s.HashAlg
		}
	}
	return tpm2.TPMAlgNull
}

// unload flushes a key that was loaded for one operation; a persistent one stays.
func (t *TPM) unload(o *object, err *error) {
	const persistent = 0x81
	if o.handle>>24 != persistent {
		t.flush(o.handle, err)
	}
}

// recipientTemplate is a decryption key that is used once: not restricted, no
// password (userWithAuth is clear), only the policy opens it.
func recipientTemplate(kind Kind, policy tpm2.TPM2BDigest) tpm2.TPMTPublic {
	p := tpm2.TPMTPublic{
		NameAlg: tpm2.TPMAlgSHA256, AuthPolicy: policy,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, NoDA: true, Decrypt: true},
	}
	if kind == RSA {
		p.Type = tpm2.TPMAlgRSA
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{
				Scheme:  tpm2.TPMAlgOAEP,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgOAEP, &tpm2.TPMSEncSchemeOAEP{HashAlg: tpm2.TPMAlgSHA256}),
			},
			KeyBits: rsaBits,
		})
		p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: random(rsaBits / 8)})
		return p
	}
	p.Type = tpm2.TPMAlgECC
	p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		Scheme: tpm2.TPMTECCScheme{
			Scheme:  tpm2.TPMAlgECDH,
			Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDH, &tpm2.TPMSKeySchemeECDH{HashAlg: tpm2.TPMAlgSHA256}),
		},
		CurveID: tpm2.TPMECCNistP256,
	})
	p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: random(32)}, Y: tpm2.TPM2BECCParameter{Buffer: random(32)},
	})
	return p
}

// random makes the "unique" field of a primary key's template, so that each
// recipient is another key: primary keys are derived from seed and template.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return b
}
