package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/big"
)

// Algorithm identifiers and curves (Part 2 §6.3, §6.4).
const (
	algRSA      = 0x0001
	algSHA256   = 0x000b
	algSHA384   = 0x000c
	algNull     = 0x0010
	algRSASSA   = 0x0014
	algRSAPSS   = 0x0016
	algOAEP     = 0x0017
	algECDSA    = 0x0018
	algECDH     = 0x0019
	algECC      = 0x0023
	curveP256   = 0x0003
	curveP384   = 0x0004
	rsaExponent = 65537
	minRSABits  = 2048
	maxRSABits  = 4096
)

// Object attributes (Part 2 §8.3).
const (
	attrFixedTPM            = 1 << 1
	attrFixedParent         = 1 << 4
	attrSensitiveDataOrigin = 1 << 5
	attrUserWithAuth        = 1 << 6
	attrAdminWithPolicy     = 1 << 7
	attrNoDA                = 1 << 10
	attrRestricted          = 1 << 16
	attrDecrypt             = 1 << 17
	attrSign                = 1 << 18
)

// public is a TPMT_PUBLIC of an asymmetric key (Part 2 §12.2.4) in the shapes
// this package accepts: RSA, or ECC on P-256 or P-384, named by SHA-256 or SHA-384.
type public struct {
	key        crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey
	attributes uint32
	authPolicy []byte
	nameAlg    uint16
	scheme     uint16
	hash       uint16 // of the scheme; 0 when the scheme is null
	name       []byte
}

// parsePublic reads exactly one TPMT_PUBLIC. Restricted decryption keys (EK)
// carry a symmetric algorithm and go through VerifyEK instead.
func parsePublic(b []byte) (*public, error) {
	if len(b) > maxPublic {
		return nil, fmt.Errorf("public area of %d bytes, limit %d", len(b), maxPublic)
	}
	r := reader{b: b}
	typ := r.u16()
	p := &public{nameAlg: r.u16(), attributes: r.u32(), authPolicy: r.sized()}
	if sym := r.u16(); sym != algNull {
		return nil, fmt.Errorf("public area with symmetric algorithm %#04x, want none", sym)
	}
	p.scheme = r.u16()
	if p.scheme != algNull {
		p.hash = r.u16()
	}
	var err error
	switch typ {
	case algRSA:
		p.key, err = rsaKey(&r)
	case algECC:
		p.key, err = eccKey(&r)
	default:
		err = fmt.Errorf("public area of type %#04x, want RSA or ECC", typ)
	}
	if err != nil {
		return nil, err
	}
	if !r.done() {
		return nil, errors.New("public area: wrong length or encoding")
	}
	p.name, err = objectName(p.nameAlg, b)
	return p, err
}

func rsaKey(r *reader) (*rsa.PublicKey, error) {
	bits, exp, n := int(r.u16()), r.u32(), r.sized()
	if exp == 0 { // the TPM's spelling of the default
		exp = rsaExponent
	}
	if exp != rsaExponent {
		return nil, fmt.Errorf("RSA exponent %d, want %d", exp, rsaExponent)
	}
	if bits < minRSABits || bits > maxRSABits || bits%1024 != 0 || len(n)*8 != bits || n[0]&0x80 == 0 || n[len(n)-1]&1 == 0 {
		return nil, fmt.Errorf("RSA modulus of %d bytes declared as %d bits, want 2048, 3072 or 4096 bits", len(n), bits)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: rsaExponent}, nil
}

func eccKey(r *reader) (*ecdsa.PublicKey, error) {
	curve, kdf := r.u16(), r.u16()
	x, y := r.sized(), r.sized()
	if kdf != algNull {
		return nil, fmt.Errorf("ECC key with KDF %#04x, want none", kdf)
	}
	c, size, err := namedCurve(curve)
	if err != nil {
		return nil, err
	}
	if len(x) > size || len(y) > size {
		return nil, errors.New("ECC coordinate too long")
	}
	point := make([]byte, 1+2*size) // a TPM may drop leading zeros
	point[0] = 4
	copy(point[1+size-len(x):], x)
	copy(point[1+2*size-len(y):], y)
	return ecdsa.ParseUncompressedPublicKey(c, point)
}

func namedCurve(id uint16) (elliptic.Curve, int, error) {
	switch id {
	case curveP256:
		return elliptic.P256(), 32, nil
	case curveP384:
		return elliptic.P384(), 48, nil
	}
	return nil, 0, fmt.Errorf("curve %#04x, want P-256 or P-384", id)
}

// objectName is the Name of an object (Part 1 §16): algorithm ‖ H(public area).
func objectName(alg uint16, publicArea []byte) ([]byte, error) {
	d, err := digest(alg, publicArea)
	if err != nil {
		return nil, err
	}
	return append([]byte{byte(alg >> 8), byte(alg)}, d...), nil
}

// digest hashes the parts with a TPM algorithm. SHA-1 is not among them.
func digest(alg uint16, parts ...[]byte) ([]byte, error) {
	switch alg {
	case algSHA256:
		h := sha256.New()
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil), nil
	case algSHA384:
		h := sha512.New384()
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil), nil
	}
	return nil, fmt.Errorf("hash algorithm %#04x, want SHA-256 or SHA-384", alg)
}

func cryptoHash(alg uint16) crypto.Hash {
	if alg == algSHA384 {
		return crypto.SHA384
	}
	return crypto.SHA256
}
