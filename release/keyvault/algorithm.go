package keyvault

import (
	"context"
	"crypto"
	_ "crypto/sha1" // of RSA-OAEP, where collisions do not matter (RFC 8017 §7.1)
	_ "crypto/sha256"
	_ "crypto/sha512"
	"slices"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault/p256k"
)

// family is a way to use a key.
type family int

const (
	oaep family = iota + 1
	pkcs1Encryption
	pkcs1
	pss
	ecdsaRaw
	mac
	keyWrap
	keyWrapPad
	gcm
	cbc
	cbcPad
)

// algorithm is one row of the table of wire format §2.2.
type algorithm struct {
	family family
	hash   crypto.Hash // of a signature, an HMAC or OAEP
	crv    string      // EC only
	size   int         // bits, oct only; 0: any
	legacy bool        // off unless the vault's settings say otherwise
}

// algorithms is everything that is offered. The weak ones give a caller who may
// send what it likes an oracle, or protect nothing against change: they are rows
// that say legacy, so that one place decides about them.
func algorithms() map[string]algorithm {
	return map[string]algorithm{
		"RSA-OAEP":             {family: oaep, hash: crypto.SHA1},
		"RSA-OAEP-256":         {family: oaep, hash: crypto.SHA256},
		"RSA1_5":               {family: pkcs1Encryption, legacy: true},
		"RS256":                {family: pkcs1, hash: crypto.SHA256},
		"RS384":                {family: pkcs1, hash: crypto.SHA384},
		"RS512":                {family: pkcs1, hash: crypto.SHA512},
		"PS256":                {family: pss, hash: crypto.SHA256},
		"PS384":                {family: pss, hash: crypto.SHA384},
		"PS512":                {family: pss, hash: crypto.SHA512},
		"ES256":                {family: ecdsaRaw, hash: crypto.SHA256, crv: "P-256"},
		"ES256K":               {family: ecdsaRaw, hash: crypto.SHA256, crv: p256k.Name},
		"ES384":                {family: ecdsaRaw, hash: crypto.SHA384, crv: "P-384"},
		"ES512":                {family: ecdsaRaw, hash: crypto.SHA512, crv: "P-521"},
		"HS256":                {family: mac, hash: crypto.SHA256, size: 256},
		"HS384":                {family: mac, hash: crypto.SHA384, size: 256},
		"HS512":                {family: mac, hash: crypto.SHA512, size: 256},
		"A128KW":               {family: keyWrap, size: 128},
		"A192KW":               {family: keyWrap, size: 192},
		"A256KW":               {family: keyWrap, size: 256},
		"CKM_AES_KEY_WRAP":     {family: keyWrap},
		"CKM_AES_KEY_WRAP_PAD": {family: keyWrapPad},
		"A128GCM":              {family: gcm, size: 128},
		"A192GCM":              {family: gcm, size: 192},
		"A256GCM":              {family: gcm, size: 256},
		"A128CBC":              {family: cbc, size: 128, legacy: true},
		"A192CBC":              {family: cbc, size: 192, legacy: true},
		"A256CBC":              {family: cbc, size: 256, legacy: true},
		"A128CBCPAD":           {family: cbcPad, size: 128, legacy: true},
		"A192CBCPAD":           {family: cbcPad, size: 192, legacy: true},
		"A256CBCPAD":           {family: cbcPad, size: 256, legacy: true},
	}
}

// kty and ops of a family.
func (f family) fits() (kty string, ops []string) {
	switch f {
	case oaep, pkcs1Encryption:
		return KtyRSA, []string{OpEncrypt, OpDecrypt, OpWrap, OpUnwrap}
	case pkcs1, pss:
		return KtyRSA, []string{OpSign, OpVerify}
	case ecdsaRaw:
		return KtyEC, []string{OpSign, OpVerify}
	case mac:
		return KtyOct, []string{OpSign, OpVerify}
	case keyWrap, keyWrapPad:
		return KtyOct, []string{OpWrap, OpUnwrap}
	case gcm, cbc, cbcPad:
		return KtyOct, []string{OpEncrypt, OpDecrypt}
	}
	return "", nil
}

// algorithmFor judges what is known before anything is recorded: whether the
// algorithm exists, is on in the vault and fits the key, and the members of the
// request fit it.
func (s *Service) algorithmFor(ctx context.Context, row *Row, in Operation) (algorithm, error) {
	a, ok := algorithms()[in.Algorithm]
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
	if a.legacy {
		on, err := s.legacy(ctx, row.Vault)
		if err != nil {
			return a, err
		}
		if !on {
			return a, release.Refuse(release.ReasonAlgorithm, "alg %s is weak and off: move to another, or `openskr vault update %s --legacy-algorithms`", in.Algorithm, row.Vault)
		}
	}
	return a, a.members(row, in)
}

// weight is what an operation costs, in operations on an RSA key of 2048 bits: the
// fractions of wire format §7.4.
func (r *Row) weight() int {
	switch {
	case r.Kty == KtyRSA && r.Size > 3072:
		return 8
	case r.Kty == KtyRSA && r.Size > 2048:
		return 4
	}
	return 1
}

// legacy says whether a vault's weak algorithms are on.
func (s *Service) legacy(ctx context.Context, vault string) (bool, error) {
	v, err := s.Vault(ctx, vault)
	return err == nil && v.LegacyAlgorithms, err
}
