package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
)

// AK is an attestation key whose public area promises that it signs only what
// the TPM itself made.
type AK struct {
	Public crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey
	Name   []byte           // object name: algorithm (2 bytes) and digest of Raw
	Raw    []byte           // TPMT_PUBLIC

	scheme, hash uint16
	primary      bool // see Primary
}

// Primary is k when its authority certifies the key alone, not the public area that
// came with it: quotes are then refused unless the TPM, in the qualified name that it
// signs with each (Part 1 §16.3), calls the signer the primary key of the endorsement
// hierarchy with just this public area.
func (k *AK) Primary() *AK {
	primary := *k
	primary.primary = true
	return &primary
}

// qualifiedName of a primary key of the endorsement hierarchy, whose own is its handle.
func (k *AK) qualifiedName() ([]byte, error) {
	if len(k.Name) < 2 {
		return nil, errors.New("AK: no public area, no name")
	}
	alg := uint16(k.Name[0])<<8 | uint16(k.Name[1])
	d, err := digest(alg, []byte{0x40, 0, 0, 0x0b}, k.Name)
	return append([]byte{k.Name[0], k.Name[1]}, d...), err
}

// ParseAK reads the TPMT_PUBLIC of an AK: exactly one structure, restricted,
// sign, fixedTPM, fixedParent, sensitiveDataOrigin, not decrypt; RSASSA, RSAPSS
// or ECDSA with SHA-256 or SHA-384; RSA of at least 2048 bits with e = 65537, or
// P-256 or P-384. An unrestricted signing key could sign a quote that its owner
// typed (TPM 2.0 Part 1 §31.5).
//
// The attributes are what the sender says until the name is certified: by
// credential activation at enrolment, by the AK certificate afterwards.
func ParseAK(tpmtPublic []byte) (*AK, error) {
	p, err := parsePublic(tpmtPublic)
	if err != nil {
		return nil, fmt.Errorf("AK: %w", err)
	}
	const need = attrRestricted | attrSign | attrFixedTPM | attrFixedParent | attrSensitiveDataOrigin
	const may = need | attrUserWithAuth | attrAdminWithPolicy | attrNoDA
	if p.attributes&need != need || p.attributes&^may != 0 {
		return nil, fmt.Errorf("AK: attributes %#08x: want a restricted signing key made in and fixed to the TPM", p.attributes)
	}
	_, isRSA := p.key.(*rsa.PublicKey)
	switch {
	case p.hash != algSHA256 && p.hash != algSHA384:
		return nil, fmt.Errorf("AK: signs with hash %#04x, want SHA-256 or SHA-384", p.hash)
	case isRSA && p.scheme != algRSASSA && p.scheme != algRSAPSS, !isRSA && p.scheme != algECDSA:
		return nil, fmt.Errorf("AK: signing scheme %#04x, want RSASSA, RSAPSS or ECDSA", p.scheme)
	}
	raw := append([]byte(nil), tpmtPublic...)
	return &AK{Public: p.key, Name: p.name, Raw: raw, scheme: p.scheme, hash: p.hash}, nil
}

// verify checks a TPMT_SIGNATURE (Part 2 §11.3.4) over message. Scheme and hash
// are those of the key, never those the signature names.
func (k *AK) verify(message, signature []byte) error {
	r := reader{b: signature}
	if scheme, hash := r.u16(), r.u16(); scheme != k.scheme || hash != k.hash {
		return fmt.Errorf("signature scheme %#04x with hash %#04x, the AK signs with %#04x and %#04x", scheme, hash, k.scheme, k.hash)
	}
	d, err := digest(k.hash, message)
	if err != nil {
		return err
	}
	switch pub := k.Public.(type) {
	case *rsa.PublicKey:
		sig := r.sized()
		if !r.done() {
			return errors.New("signature: wrong length")
		}
		if k.scheme == algRSASSA {
			return rsa.VerifyPKCS1v15(pub, cryptoHash(k.hash), d, sig)
		}
		return verifyPSS(pub, k.hash, d, sig)
	case *ecdsa.PublicKey:
		sr, ss := r.sized(), r.sized()
		size := (pub.Curve.Params().BitSize + 7) / 8
		if !r.done() || len(sr) > size || len(ss) > size {
			return errors.New("signature: wrong length")
		}
		// Verify refuses r and s outside [1, n-1].
		if !ecdsa.Verify(pub, d, new(big.Int).SetBytes(sr), new(big.Int).SetBytes(ss)) {
			return errors.New("signature does not verify")
		}
		return nil
	}
	return errors.New("no usable key")
}

// verifyPSS accepts the two salt lengths TPMs use: that of the hash, and the
// largest that fits (Part 1 §B.7).
func verifyPSS(pub *rsa.PublicKey, hash uint16, d, sig []byte) error {
	h := cryptoHash(hash)
	err := rsa.VerifyPSS(pub, h, d, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	if err == nil {
		return nil
	}
	longest := (pub.N.BitLen()-1+7)/8 - 2 - h.Size()
	return rsa.VerifyPSS(pub, h, d, sig, &rsa.PSSOptions{SaltLength: longest})
}
