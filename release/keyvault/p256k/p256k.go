// Package p256k is ECDSA on curve secp256k1, which Key Vault calls P-256K and the
// standard library has not. The arithmetic is that of decred's library; it is not
// constant in time (docs/limits.md), so nothing but a key that asks for this curve
// comes here, and no recipient of a release does.
package p256k

import (
	"errors"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// Name of the curve in Key Vault's words; RFC 8812 calls it secp256k1.
const Name = "P-256K"

// Size is that of a scalar, a coordinate and a SHA-256 digest, in bytes.
const Size = 32

// SignatureSize is that of r ‖ s, in bytes (RFC 8812 §3.2).
const SignatureSize = 2 * Size

// PrivateKey is a scalar from 1 to the order less 1. Clear it after use.
type PrivateKey struct{ scalar *secp256k1.PrivateKey }

var errScalar = errors.New("private key is not a number from 1 to the order of secp256k1 less 1, in 32 bytes")

// Generate makes a new key.
func Generate() (*PrivateKey, error) {
	k, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		return nil, err
	}
	return &PrivateKey{k}, nil
}

// New takes a scalar of Size bytes, big endian.
func New(d []byte) (*PrivateKey, error) {
	var n secp256k1.ModNScalar
	if len(d) != Size || n.SetByteSlice(d) || n.IsZero() {
		return nil, errScalar
	}
	return &PrivateKey{secp256k1.NewPrivateKey(&n)}, nil
}

// Clear overwrites the scalar.
func (k *PrivateKey) Clear() { k.scalar.Zero() }

// Bytes gives the scalar, in Size bytes. The caller clears it.
func (k *PrivateKey) Bytes() []byte { return k.scalar.Serialize() }

// Public gives the uncompressed point, 4 ‖ x ‖ y (SEC 1 §2.3.3).
func (k *PrivateKey) Public() []byte { return k.scalar.PubKey().SerializeUncompressed() }

// Sign gives r ‖ s of a digest of Size bytes, with the nonce of RFC 6979 and the
// lower of the two values of s, as ledgers want it.
func (k *PrivateKey) Sign(digest []byte) ([]byte, error) {
	if len(digest) != Size {
		return nil, errors.New("ES256K signs a digest of 32 bytes")
	}
	sig := ecdsa.Sign(k.scalar, digest)
	r, s := sig.R(), sig.S()
	out := make([]byte, SignatureSize)
	r.PutBytesUnchecked(out[:Size])
	s.PutBytesUnchecked(out[Size:])
	return out, nil
}

// Verify says whether signature, r ‖ s, is that of digest under the uncompressed
// point. Either value of s is good: the standard (SEC 1 §4.1.4) knows no lower one.
func Verify(point, digest, signature []byte) bool {
	if len(point) != 1+2*Size || point[0] != secp256k1.PubKeyFormatUncompressed || len(digest) != Size || len(signature) != SignatureSize {
		return false
	}
	pub, err := secp256k1.ParsePubKey(point)
	if err != nil {
		return false
	}
	var r, s secp256k1.ModNScalar
	if r.SetByteSlice(signature[:Size]) || s.SetByteSlice(signature[Size:]) { // not below the order
		return false
	}
	return ecdsa.NewSignature(&r, &s).Verify(digest, pub) // and not zero
}
