// Package jose signs and verifies the compact JWS of this deployment: access
// tokens and release responses. It is the only importer of jwx.
//
// A JWS here has one shape: ES256, protected header {"alg","typ","kid"} and
// nothing else, key chosen by kid from a pinned set. Everything that published
// attacks on JOSE rest on (alg confusion, embedded keys, crit, b64, JSON
// serialisation, JWE) is therefore refused by not being that shape, before any
// cryptography.
package jose

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
)

// Types of the JWS that this deployment signs; each has its own key.
const (
	TypeAccessToken = "at+jwt" // RFC 9068
	// TypeAttestedToken is an access token of a machine that proved itself. It has the
	// key of access tokens, and claims of its own: neither reads as the other.
	TypeAttestedToken = "attested+jwt"
)

// MaxToken bounds a token in bytes.
const MaxToken = 16 << 10

var b64 = base64.RawURLEncoding.Strict()

// header is the protected header, the only one accepted.
type header struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	KID string `json:"kid"`
}

// Signer makes compact ES256 JWS of one typ with one key. It is safe for
// concurrent use and implements release.Signer.
type Signer struct {
	key    *ecdsa.PrivateKey
	kid    string
	prefix []byte // encoded header with its dot
}

// NewSigner makes a Signer; key must be on P-256.
func NewSigner(key *ecdsa.PrivateKey, typ string) (*Signer, error) {
	if key == nil || key.Curve != elliptic.P256() {
		return nil, errors.New("jose: signing key is not on P-256")
	}
	kid, err := KeyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	h, err := json.Marshal(header{Alg: "ES256", Typ: typ, KID: kid})
	if err != nil {
		return nil, fmt.Errorf("jose: header: %w", err)
	}
	return &Signer{key: key, kid: kid, prefix: append(b64.AppendEncode(nil, h), '.')}, nil
}

// KID names the key, as in [Keys].
func (s *Signer) KID() string { return s.kid }

// Public is the verification key.
func (s *Signer) Public() *ecdsa.PublicKey { return &s.key.PublicKey }

// Sign implements release.Signer.
func (s *Signer) Sign(payload []byte) (string, error) {
	out := make([]byte, 0, len(s.prefix)+b64.EncodedLen(len(payload))+1+b64.EncodedLen(64))
	out = b64.AppendEncode(append(out, s.prefix...), payload)
	digest := sha256.Sum256(out)
	sig, err := signES256(s.key, digest[:])
	if err != nil {
		return "", fmt.Errorf("jose: %w", err)
	}
	return string(b64.AppendEncode(append(out, '.'), sig)), nil
}

// signES256 gives r ‖ s, 32 bytes each (RFC 7518 §3.4), of a key on P-256.
func signES256(key *ecdsa.PrivateKey, digest []byte) ([]byte, error) {
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		return nil, err
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return sig, nil
}

// Keys is a pinned set by kid: the present key and, during a rotation, the one before.
type Keys map[string]*ecdsa.PublicKey

// NewKeys pins keys under their KeyID.
func NewKeys(keys ...*ecdsa.PublicKey) (Keys, error) {
	out := Keys{}
	for _, k := range keys {
		if k == nil || k.Curve != elliptic.P256() {
			return nil, errors.New("jose: pinned key is not on P-256")
		}
		kid, err := KeyID(k)
		if err != nil {
			return nil, err
		}
		out[kid] = k
	}
	return out, nil
}

// KeyID is base64url(SHA-256(SPKI DER)), the kid of every key of ours.
func KeyID(pub *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("jose: %w", err)
	}
	sum := sha256.Sum256(der)
	return b64.EncodeToString(sum[:]), nil
}
