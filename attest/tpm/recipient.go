package tpm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/strict"
)

// verifyRecipient takes the recipient key from the runtime data, which the quote
// covers, and proves that its classical half is a key of this TPM that works
// only while the quoted PCRs have the quoted values: the AK certified it for the
// same runtime data in the same boot, its attributes keep it inside, and its
// policy is PolicyPCR and the only way to use it.
//
// Without such a proof the key is covered but not resident, and the floor of a
// release refuses the Result.
func verifyRecipient(res *attest.Result, proof *format.Recipient, q *attested, pcrs *bank, ak *AK, runtimeData []byte) *attest.Rejection {
	key, rej := binding.Recipient(runtimeData)
	if rej != nil {
		return rej
	}
	res.Recipient, res.Facts.Recipient = key, true
	if proof == nil {
		return nil
	}
	pub, err := parsePublic(proof.Public)
	if err != nil {
		return attest.Reject(attest.CheckRecipientUnbound, "recipient: %w", err)
	}
	if err := matches(key, pub); err != nil {
		return attest.Reject(attest.CheckRecipientUnbound, "%w", err)
	}
	if rej := verifyCertify(proof, pub, q, ak); rej != nil {
		return rej
	}
	if err := pub.residentAt(q.selection, pcrs.digest); err != nil {
		return attest.Reject(attest.CheckRecipientUnbound, "%w", err)
	}
	res.Facts.Resident = true
	return nil
}

// verifyCertify proves that the AK vouched for pub, for the same data and in
// the same boot as the quote.
func verifyCertify(proof *format.Recipient, pub *public, q *attested, ak *AK) *attest.Rejection {
	c, err := parseAttested(proof.Certify, typeCertify)
	if err != nil {
		return attest.Reject(attest.CheckMalformed, "certify: %w", err)
	}
	if err := ak.verify(proof.Certify, proof.Signature); err != nil {
		return attest.Reject(attest.CheckSignature, "certify: %w", err)
	}
	if subtle.ConstantTimeCompare(c.extraData, q.extraData) != 1 || subtle.ConstantTimeCompare(c.signer, q.signer) != 1 {
		return attest.Reject(attest.CheckNotLinked, "quote and certify were made for different data or by different keys")
	}
	if c.clock.resetCount != q.clock.resetCount || c.firmware != q.firmware {
		return attest.Reject(attest.CheckNotLinked, "quote and certify are from different boots: reset count %d and %d", q.clock.resetCount, c.clock.resetCount)
	}
	if subtle.ConstantTimeCompare(c.name, pub.name) != 1 {
		return attest.Reject(attest.CheckRecipientUnbound, "certified name %x is not that of the recipient's public area, %x", c.name, pub.name)
	}
	return nil
}

// residentAt checks what the public area promises (Part 1 §25, Part 3 §23.7).
func (p *public) residentAt(selection, pcrDigest []byte) error {
	const need = attrFixedTPM | attrFixedParent | attrSensitiveDataOrigin | attrDecrypt
	const may = need | attrAdminWithPolicy | attrNoDA
	if p.attributes&need != need || p.attributes&^may != 0 {
		return fmt.Errorf("recipient: attributes %#08x: want a decryption key made in and fixed to the TPM, usable by policy only", p.attributes)
	}
	if p.nameAlg != algSHA256 {
		return fmt.Errorf("recipient: name algorithm %#04x, want SHA-256", p.nameAlg)
	}
	switch p.scheme {
	case algNull, algECDH, algOAEP:
	default:
		return fmt.Errorf("recipient: scheme %#04x", p.scheme)
	}
	want, err := policyPCR(selection, pcrDigest)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(p.authPolicy, want) != 1 {
		return fmt.Errorf("recipient: policy %x is not PolicyPCR over the quoted PCRs, %x", p.authPolicy, want)
	}
	return nil
}

// policyPCR is the digest of a SHA-256 policy session after one TPM2_PolicyPCR
// (Part 3 §23.7): H(0 ‖ TPM_CC_PolicyPCR ‖ TPML_PCR_SELECTION ‖ H(PCR values)).
func policyPCR(selection, pcrDigest []byte) ([]byte, error) {
	const commandPolicyPCR = 0x0000017f
	return digest(algSHA256, make([]byte, 32), binary.BigEndian.AppendUint32(nil, commandPolicyPCR), selection, pcrDigest)
}

// jwk holds the members that name a key. Whether the key may be wrapped to is
// judged by release/wrap; here it only has to be the one in the TPM.
type jwk struct {
	Kty    string   `json:"kty"`
	Kem    int      `json:"kem"`
	Kid    string   `json:"kid"`
	Pub    string   `json:"pub"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	Alg    string   `json:"alg"`
	Use    string   `json:"use"`
	KeyOps []string `json:"key_ops"`
}

// KEM identifiers whose classical half is a P-256 point (RFC 9180 §7.1 and the
// hybrids of draft-ietf-hpke-pq), and the length of their public keys.
const (
	kemP256         = 0x0010
	kemMLKEM768P256 = 0x0050
	p256Size        = 65
	hybridSize      = 1184 + p256Size
)

// matches says whether the JWK's classical half is the public area's key.
func matches(recipient []byte, pub *public) error {
	var k jwk
	if err := strict.Unmarshal(recipient, binding.MaxSize, &k); err != nil {
		return fmt.Errorf("recipient: %w", err)
	}
	switch key := pub.key.(type) {
	case *ecdsa.PublicKey:
		raw, err := b64.DecodeString(k.Pub)
		want := p256Size
		if k.Kem == kemMLKEM768P256 {
			want = hybridSize
		}
		if err != nil || k.Kty != "HPKE" || k.Kem != kemP256 && k.Kem != kemMLKEM768P256 || len(raw) != want || key.Curve != elliptic.P256() {
			return fmt.Errorf("recipient: kty %.8q with KEM %#x has no P-256 half", k.Kty, k.Kem)
		}
		point, err := key.Bytes()
		if err != nil || subtle.ConstantTimeCompare(point, raw[len(raw)-p256Size:]) != 1 {
			return errors.New("recipient: its P-256 point is not that of the key in the TPM")
		}
		return nil
	case *rsa.PublicKey:
		n, errN := b64.DecodeString(k.N)
		e, errE := b64.DecodeString(k.E)
		if errN != nil || errE != nil || k.Kty != "RSA" || new(big.Int).SetBytes(n).Cmp(key.N) != 0 || new(big.Int).SetBytes(e).Cmp(big.NewInt(int64(key.E))) != 0 {
			return errors.New("recipient: it is not the RSA key in the TPM")
		}
		return nil
	}
	return errors.New("recipient: unsupported key")
}

var b64 = base64.RawURLEncoding.Strict()
