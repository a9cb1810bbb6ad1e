package keyvault

import (
	"crypto"
	_ "crypto/sha1" // of RSA-OAEP, where collisions do not matter (RFC 8017 §7.1)
	_ "crypto/sha256"
	_ "crypto/sha512"
	"slices"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/wrap"
)

// family is a way to use a key.
type family int

const (
	oaep family = iota + 1
	pkcs1
	pss
	ecdsaRaw
	keyWrap
	gcm
)

// algorithm is one row of the table of wire format §2.2.
type algorithm struct {
	family family
	hash   crypto.Hash // of a signature or of OAEP
	crv    string      // EC only
	size   int         // bits, oct only
}

// gcmNonce and gcmTag are the sizes of AES-GCM here, in bytes: no other is safe
// to take from a caller.
const (
	gcmNonce = 12
	gcmTag   = 16
)

// algorithms is everything that is offered. What is weak (RSA1_5, CBC) is not in
// it, so that no setting can leave it on by accident.
func algorithms(name string) (algorithm, bool) {
	a, ok := map[string]algorithm{
		"RSA-OAEP":     {family: oaep, hash: crypto.SHA1},
		"RSA-OAEP-256": {family: oaep, hash: crypto.SHA256},
		"RS256":        {family: pkcs1, hash: crypto.SHA256},
		"RS384":        {family: pkcs1, hash: crypto.SHA384},
		"RS512":        {family: pkcs1, hash: crypto.SHA512},
		"PS256":        {family: pss, hash: crypto.SHA256},
		"PS384":        {family: pss, hash: crypto.SHA384},
		"PS512":        {family: pss, hash: crypto.SHA512},
		"ES256":        {family: ecdsaRaw, hash: crypto.SHA256, crv: "P-256"},
		"ES384":        {family: ecdsaRaw, hash: crypto.SHA384, crv: "P-384"},
		"ES512":        {family: ecdsaRaw, hash: crypto.SHA512, crv: "P-521"},
		"A128KW":       {family: keyWrap, size: 128},
		"A192KW":       {family: keyWrap, size: 192},
		"A256KW":       {family: keyWrap, size: 256},
		"A128GCM":      {family: gcm, size: 128},
		"A192GCM":      {family: gcm, size: 192},
		"A256GCM":      {family: gcm, size: 256},
	}[name]
	return a, ok
}

// kty and ops of a family.
func (f family) fits() (kty string, ops []string) {
	switch f {
	case oaep:
		return KtyRSA, []string{OpEncrypt, OpDecrypt, OpWrap, OpUnwrap}
	case pkcs1, pss:
		return KtyRSA, []string{OpSign, OpVerify}
	case ecdsaRaw:
		return KtyEC, []string{OpSign, OpVerify}
	case keyWrap:
		return KtyOct, []string{OpWrap, OpUnwrap}
	case gcm:
		return KtyOct, []string{OpEncrypt, OpDecrypt}
	}
	return "", nil
}

// algorithmFor judges what is known before anything is recorded: whether the
// algorithm exists and fits the key, and the members of the request fit it.
func algorithmFor(row *Row, in Operation) (algorithm, error) {
	a, ok := algorithms(in.Algorithm)
	if !ok {
		return a, release.Refuse(release.ReasonAlgorithm, "alg %.32q is not offered", in.Algorithm)
	}
	kty, ops := a.family.fits()
	switch {
	case !slices.Contains(ops, in.Op):
		return a, release.Refuse(release.ReasonAlgorithm, "alg %s does not %s", in.Algorithm, in.Op)
	case kty != row.Kty || a.crv != row.Crv || a.size != 0 && a.size != row.Size:
		return a, release.Refuse(release.ReasonAlgorithm, "alg %s does not fit this %s key of %d bits", in.Algorithm, row.Kty, row.Size)
	}
	return a, a.members(row, in)
}

// members judges the request's members by their sizes. Those of a ciphertext are
// judged where it is opened, so that all its faults are one answer.
func (a algorithm) members(row *Row, in Operation) error {
	refuse := func(format string, args ...any) error {
		return release.Refuse(release.ReasonBadRequest, format, args...)
	}
	digest := in.Value
	if in.Op == OpVerify {
		digest = in.Digest
	}
	signs := in.Op == OpSign || in.Op == OpVerify
	switch {
	case len(in.Value) == 0:
		return refuse("member value is required")
	case in.Op != OpVerify && len(in.Digest) != 0:
		return refuse("member digest belongs to verify")
	case a.family != gcm && len(in.IV)+len(in.AAD)+len(in.Tag) != 0:
		return refuse("alg %s has no iv, aad or tag", in.Algorithm)
	case signs && len(digest) != a.hash.Size():
		return refuse("digest of %d bytes, %s has %d", len(digest), in.Algorithm, a.hash.Size())
	case a.family == gcm && in.Op == OpEncrypt && len(in.IV)+len(in.Tag) != 0:
		return refuse("iv and tag of an encryption are made by the vault")
	case a.family == gcm && in.Op == OpDecrypt && (len(in.IV) != gcmNonce || len(in.Tag) != gcmTag):
		return refuse("iv of %d bytes and tag of %d, want %d and %d", len(in.IV), len(in.Tag), gcmNonce, gcmTag)
	case a.family == keyWrap && in.Op == OpWrap && !wrap.FitsKW(len(in.Value)):
		return refuse("%s wraps a multiple of 8 bytes, from 16 to %d", in.Algorithm, wrap.MaxMaterial)
	case a.family == oaep && publicOnly(row.Kty, in.Op) && len(in.Value) > row.Size/8-2*a.hash.Size()-2:
		return refuse("value of %d bytes, %s with this key takes at most %d", len(in.Value), in.Algorithm, row.Size/8-2*a.hash.Size()-2)
	}
	return nil
}
