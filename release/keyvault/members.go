package keyvault

import (
	"crypto/aes"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/wrap"
)

// gcmNonce and gcmTag are the sizes of AES-GCM here, in bytes: no other is safe
// to take from a caller.
const (
	gcmNonce = 12
	gcmTag   = 16
)

// members judges the request's members by their sizes. Those of a ciphertext are
// judged where it is opened, so that all its faults are one answer.
func (a algorithm) members(row *Row, in Operation) error {
	digest := in.Value
	if in.Op == OpVerify {
		digest = in.Digest
	}
	signs := in.Op == OpSign || in.Op == OpVerify
	switch {
	case len(in.Value) == 0:
		return malformed("member value is required")
	case in.Op != OpVerify && len(in.Digest) != 0:
		return malformed("member digest belongs to verify")
	case a.family != gcm && len(in.AAD)+len(in.Tag) != 0:
		return malformed("alg %s has no aad or tag", in.Algorithm)
	case signs && len(digest) != a.hash.Size():
		return malformed("digest of %d bytes, %s has %d", len(digest), in.Algorithm, a.hash.Size())
	}
	if err := a.iv(in); err != nil {
		return err
	}
	return a.length(row, in)
}

func malformed(format string, args ...any) error {
	return release.Refuse(release.ReasonBadRequest, format, args...)
}

// iv judges iv and tag. The nonce of GCM is made by the vault: a caller who chose
// one twice would give the key's authentication away. CBC takes a caller's, since
// clients send one, and makes one otherwise.
func (a algorithm) iv(in Operation) error {
	switch {
	case a.family == gcm && in.Op == OpEncrypt && len(in.IV)+len(in.Tag) != 0:
		return malformed("iv and tag of an encryption are made by the vault")
	case a.family == gcm && in.Op == OpDecrypt && (len(in.IV) != gcmNonce || len(in.Tag) != gcmTag):
		return malformed("iv of %d bytes and tag of %d, want %d and %d", len(in.IV), len(in.Tag), gcmNonce, gcmTag)
	case a.family == gcm:
		return nil
	case !a.chained() && len(in.IV) != 0:
		return malformed("alg %s has no iv", in.Algorithm)
	case a.chained() && len(in.IV) != aes.BlockSize && (in.Op == OpDecrypt || len(in.IV) != 0):
		return malformed("iv of %d bytes, %s has %d", len(in.IV), in.Algorithm, aes.BlockSize)
	}
	return nil
}

func (a algorithm) chained() bool { return a.family == cbc || a.family == cbcPad }

// length judges that of a plaintext, and of a ciphertext what its algorithm says of
// all: nothing here depends on a key's secret.
func (a algorithm) length(row *Row, in Operation) error {
	n, modulus := len(in.Value), row.Size/8
	encrypts := in.Op == OpEncrypt || in.Op == OpWrap
	switch {
	case a.family == keyWrap && encrypts && !wrap.FitsKW(n):
		return malformed("%s wraps a multiple of 8 bytes, from 16 to %d", in.Algorithm, wrap.MaxMaterial)
	case a.family == keyWrapPad && encrypts && n > wrap.MaxMaterial:
		return malformed("%s wraps at most %d bytes", in.Algorithm, wrap.MaxMaterial)
	case a.family == cbc && encrypts && n%aes.BlockSize != 0:
		return malformed("value of %d bytes, %s encrypts a multiple of %d", n, in.Algorithm, aes.BlockSize)
	case a.family == oaep && encrypts && n > modulus-2*a.hash.Size()-2:
		return malformed("value of %d bytes, %s with this key takes at most %d", n, in.Algorithm, modulus-2*a.hash.Size()-2)
	case a.family == pkcs1Encryption && encrypts && n > maxPKCS1(modulus):
		return malformed("value of %d bytes, %s with this key takes at most %d", n, in.Algorithm, maxPKCS1(modulus))
	}
	return nil
}
