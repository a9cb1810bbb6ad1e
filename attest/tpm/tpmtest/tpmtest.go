// Package tpmtest is a TPM without a TPM, for tests and benchmarks: it signs
// what it is told to, so that it can also make what no real TPM would.
package tpmtest

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/strict"
)

// Machine is a fake TPM with an AK, and the CA that certified it. Its fields may
// be changed before anything is made from it.
type Machine struct {
	ID     string
	CA     *x509.Certificate
	CAKey  *ecdsa.PrivateKey
	AKKey  crypto.Signer
	AK     tpm2.TPMTPublic
	PCRs   map[int][]byte // of Bank
	Bank   tpm2.TPMAlgID  // SHA-256 or SHA-384
	Log    []byte
	Clock  tpm2.TPMSClockInfo
	EKHash [32]byte
	EKCert [32]byte
	From   time.Time // period of the AK certificate
	To     time.Time

	// Recipient in the TPM: a P-256 key, and its public area before the policy is set.
	RecipientKey *ecdh.PrivateKey
	Recipient    tpm2.TPMTPublic
}

// New makes a machine with a P-256 AK at time at, all 24 PCRs zero.
func New(at time.Time) (*Machine, error) {
	ca, caKey, err := newCA(at)
	if err != nil {
		return nil, err
	}
	akKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	rk, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	m := &Machine{
		ID: "machine-1", CA: ca, CAKey: caKey, AKKey: akKey, AK: AKTemplate(&akKey.PublicKey),
		Bank: tpm2.TPMAlgSHA256, PCRs: map[int][]byte{}, RecipientKey: rk, Recipient: recipientTemplate(rk.PublicKey()),
		Clock: tpm2.TPMSClockInfo{Clock: 1000, ResetCount: 7, RestartCount: 2, Safe: true},
		From:  at.Add(-time.Hour), To: at.Add(23 * time.Hour),
	}
	for i := range 24 {
		m.PCRs[i] = make([]byte, 32)
	}
	return m, nil
}

func newCA(at time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, caTemplate(at), caTemplate(at), key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func caTemplate(at time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test AK CA"},
		NotBefore: at.Add(-24 * time.Hour), NotAfter: at.Add(365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
}

// AKTemplate is the public area of a sound AK for key (RSA or ECDSA), signing
// with SHA-256.
func AKTemplate(key crypto.PublicKey) tpm2.TPMTPublic {
	p := tpm2.TPMTPublic{
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true,
			NoDA: true, Restricted: true, SignEncrypt: true,
		},
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		p.Type = tpm2.TPMAlgRSA
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{
				Scheme:  tpm2.TPMAlgRSASSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull},
			KeyBits:   tpm2.TPMKeyBits(k.N.BitLen()),
		})
		p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: k.N.Bytes()})
	case *ecdsa.PublicKey:
		raw, err := k.Bytes()
		if err != nil {
			panic(err)
		}
		p.Type = tpm2.TPMAlgECC
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull},
			CurveID:   tpm2.TPMECCNistP256, KDF: tpm2.TPMTKDFScheme{Scheme: tpm2.TPMAlgNull},
		})
		p.Unique = eccPoint(raw)
	}
	return p
}

func eccPoint(uncompressed []byte) tpm2.TPMUPublicID {
	n := (len(uncompressed) - 1) / 2
	return tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: uncompressed[1 : 1+n]},
		Y: tpm2.TPM2BECCParameter{Buffer: uncompressed[1+n:]},
	})
}

func recipientTemplate(pub *ecdh.PublicKey) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, NoDA: true, Decrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDH,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDH, &tpm2.TPMSKeySchemeECDH{HashAlg: tpm2.TPMAlgSHA256}),
			},
			Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull},
			CurveID:   tpm2.TPMECCNistP256, KDF: tpm2.TPMTKDFScheme{Scheme: tpm2.TPMAlgNull},
		}),
		Unique: eccPoint(pub.Bytes()),
	}
}

// AKPublic is the marshalled TPMT_PUBLIC of the AK.
func (m *Machine) AKPublic() []byte { return tpm2.Marshal(m.AK) }

// Certificate issues the AK certificate. The AK must be one that ParseAK takes.
func (m *Machine) Certificate() ([]byte, error) {
	ak, err := tpm.ParseAK(m.AKPublic())
	if err != nil {
		return nil, err
	}
	return tpm.IssueAKCertificate(m.CA, m.CAKey, ak, tpm.AKCertificate{
		MachineID: m.ID, AKName: ak.Name, EKHash: m.EKHash, EKCert: m.EKCert, NotBefore: m.From, NotAfter: m.To, Serial: big.NewInt(42),
	})
}

// Endorsements are the AK certificate as evidence carries it.
func (m *Machine) Endorsements() ([]attest.Endorsement, error) {
	der, err := m.Certificate()
	return []attest.Endorsement{{Type: attest.EndorsementAKCertificate, Data: der}}, err
}

// selection selects the machine's PCRs of its bank.
func (m *Machine) selection() tpm2.TPMLPCRSelection {
	var indexes []uint
	for _, i := range slices.Sorted(maps.Keys(m.PCRs)) {
		indexes = append(indexes, uint(i))
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: m.Bank, PCRSelect: tpm2.PCClientCompatible.PCRs(indexes...)}}}
}

// values is the concatenation of the PCRs in index order.
func (m *Machine) values() []byte {
	var b []byte
	for _, i := range slices.Sorted(maps.Keys(m.PCRs)) {
		b = append(b, m.PCRs[i]...)
	}
	return b
}

// Quote is the statement a TPM would sign over extraData and its PCRs.
func (m *Machine) Quote(extraData []byte) tpm2.TPMSAttest {
	d := sha256.Sum256(m.values())
	return m.statement(tpm2.TPMSTAttestQuote, extraData, tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{
		PCRSelect: m.selection(), PCRDigest: tpm2.TPM2BDigest{Buffer: d[:]},
	}))
}

// Certify is the statement a TPM would sign over an object's public area.
func (m *Machine) Certify(extraData, public []byte) tpm2.TPMSAttest {
	d := sha256.Sum256(public)
	return m.statement(tpm2.TPMSTAttestCertify, extraData, tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, &tpm2.TPMSCertifyInfo{
		Name: tpm2.TPM2BName{Buffer: append([]byte{0, 0x0b}, d[:]...)},
	}))
}

func (m *Machine) statement(typ tpm2.TPMST, extraData []byte, info tpm2.TPMUAttest) tpm2.TPMSAttest {
	return tpm2.TPMSAttest{
		Magic: tpm2.TPMGeneratedValue, Type: typ,
		QualifiedSigner: m.qualifiedName(),
		ExtraData:       tpm2.TPM2BData{Buffer: extraData},
		ClockInfo:       m.Clock, FirmwareVersion: 0x2024010100120000,
		Attested: info,
	}
}

// qualifiedName of the AK as a primary key of the endorsement hierarchy (Part 1 §16.3).
func (m *Machine) qualifiedName() tpm2.TPM2BName {
	name := sha256.Sum256(m.AKPublic())
	d := sha256.Sum256(append([]byte{0x40, 0, 0, 0x0b, 0, 0x0b}, name[:]...))
	return tpm2.TPM2BName{Buffer: append([]byte{0, 0x0b}, d[:]...)}
}

// Sign signs a statement with the AK: its bytes and a TPMT_SIGNATURE.
func (m *Machine) Sign(a tpm2.TPMSAttest) (statement, signature []byte, err error) {
	statement = tpm2.Marshal(a)
	signature, err = m.SignRaw(statement)
	return statement, signature, err
}

// SignRaw signs bytes with the AK, whatever they are.
func (m *Machine) SignRaw(b []byte) ([]byte, error) {
	d := sha256.Sum256(b)
	switch key := m.AKKey.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, d[:])
		if err != nil {
			return nil, err
		}
		return tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
			Hash: tpm2.TPMAlgSHA256, SignatureR: tpm2.TPM2BECCParameter{Buffer: r.Bytes()}, SignatureS: tpm2.TPM2BECCParameter{Buffer: s.Bytes()},
		})}), nil
	case *rsa.PrivateKey:
		sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, d[:])
		if err != nil {
			return nil, err
		}
		return tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgRSASSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgRSASSA, &tpm2.TPMSSignatureRSA{
			Hash: tpm2.TPMAlgSHA256, Sig: tpm2.TPM2BPublicKeyRSA{Buffer: sig},
		})}), nil
	}
	return nil, fmt.Errorf("AK of type %T", m.AKKey)
}

// RuntimeData names the machine's recipient as an HPKE key of KEM 16 (P-256).
func (m *Machine) RuntimeData(nonce []byte) []byte {
	jwk := fmt.Sprintf(`{"kty":"HPKE","kem":16,"kid":"r","pub":%q}`, base64.RawURLEncoding.EncodeToString(m.RecipientKey.PublicKey().Bytes()))
	return RuntimeData(jwk, nonce)
}

// RuntimeData is a document for the given recipient JWK.
func RuntimeData(jwk string, nonce []byte) []byte {
	b, err := (&binding.RuntimeData{
		Keys: []jsontext.Value{jsontext.Value(jwk)}, Nonce: nonce, Audience: "deployment", Purpose: binding.PurposeRelease,
		Key: "https://vault/keys/k", Enc: "hpke",
	}).Encode()
	if err != nil {
		panic(err)
	}
	return b
}

// RecipientPublic is the recipient's TPMT_PUBLIC with PolicyPCR over the
// machine's PCRs, computed the way a TPM's policy session does.
func (m *Machine) RecipientPublic() ([]byte, error) {
	calc, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		return nil, err
	}
	d := sha256.Sum256(m.values())
	if err := (tpm2.PolicyPCR{PcrDigest: tpm2.TPM2BDigest{Buffer: d[:]}, Pcrs: m.selection()}).Update(calc); err != nil {
		return nil, err
	}
	p := m.Recipient
	p.AuthPolicy = tpm2.TPM2BDigest{Buffer: calc.Hash().Digest}
	return tpm2.Marshal(p), nil
}

// Body makes sound evidence over runtime data.
func (m *Machine) Body(runtimeData []byte) (*format.Evidence, error) {
	d := binding.Digest(runtimeData)
	quote, sig, err := m.Sign(m.Quote(d[:]))
	if err != nil {
		return nil, err
	}
	public, err := m.RecipientPublic()
	if err != nil {
		return nil, err
	}
	certify, certifySig, err := m.Sign(m.Certify(d[:], public))
	if err != nil {
		return nil, err
	}
	return &format.Evidence{
		Type: attest.TypeTPM, Quote: quote, Signature: sig, AK: m.AKPublic(), PCRs: m.pcrMap(), EventLog: m.Log,
		Recipient: &format.Recipient{Public: public, Certify: certify, Signature: certifySig},
	}, nil
}

// pcrMap is the machine's PCRs as evidence carries them.
func (m *Machine) pcrMap() map[string]map[string]attest.Bytes {
	values := map[string]attest.Bytes{}
	for i, v := range m.PCRs {
		values[strconv.Itoa(i)] = v
	}
	bank := "sha256"
	if m.Bank == tpm2.TPMAlgSHA384 {
		bank = "sha384"
	}
	return map[string]map[string]attest.Bytes{bank: values}
}

// Evidence makes sound evidence over runtime data, with its endorsement.
func (m *Machine) Evidence(runtimeData []byte) (attest.Evidence, error) {
	body, err := m.Body(runtimeData)
	if err != nil {
		return attest.Evidence{}, err
	}
	return m.Pack(body, runtimeData)
}

// Pack encodes a body, sound or not, and endorses it.
func (m *Machine) Pack(body *format.Evidence, runtimeData []byte) (attest.Evidence, error) {
	b, err := strict.Marshal(body)
	if err != nil {
		return attest.Evidence{}, err
	}
	ends, err := m.Endorsements()
	return attest.Evidence{Type: attest.TypeTPM, Body: b, RuntimeData: runtimeData, Endorsements: ends}, err
}
