package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of a foreign key set.
const (
	MaxKeySet   = 256 << 10 // bytes
	maxKeys     = 64
	maxKID      = 512
	maxModulus  = 8192 // bits
	minModulus  = 2048
	rsaExponent = 65537
)

// KeySet is the public keys of a foreign issuer (RFC 7517), those of them that this
// package can verify with.
type KeySet []ForeignKey

// ForeignKey is one of them.
type ForeignKey struct {
	KID    string // "" where the set names it not
	Alg    string // "" where the set leaves it to the token's header
	Public crypto.PublicKey
	// From and End are the period of the key's certificate, both zero without one.
	From, End time.Time
}

// Thumbprint is SHA-256 over the key's SPKI: what an operator's deny list names.
func (k *ForeignKey) Thumbprint() ([sha256.Size]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("jose: %w", err)
	}
	return sha256.Sum256(der), nil
}

// jwk has the members that name a public key, and those that must not be there.
type jwk struct {
	Kty string   `json:"kty"`
	Use string   `json:"use"`
	Alg string   `json:"alg"`
	KID string   `json:"kid"`
	N   string   `json:"n"`
	E   string   `json:"e"`
	Crv string   `json:"crv"`
	X   string   `json:"x"`
	Y   string   `json:"y"`
	X5C []string `json:"x5c"`

	D jsontext.Value `json:"d"`
	K jsontext.Value `json:"k"`
}

// ParseKeySet reads a JWK set strictly: no duplicate members, no key id twice, no
// private or symmetric key; RSA of 2048 to 8192 bits with e = 65537; points on their
// curve. A key may come as x5c alone, as Azure Attestation publishes them; where both
// stand, they must agree. Keys of other kinds or uses are left out.
func ParseKeySet(b []byte) (KeySet, error) {
	if len(b) > MaxKeySet {
		return nil, fmt.Errorf("key set of %d bytes, limit %d", len(b), MaxKeySet)
	}
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("key set of %d keys, limit %d", len(set.Keys), maxKeys)
	}
	var out KeySet
	seen := map[string]bool{}
	for i, j := range set.Keys {
		if j.D != nil || j.K != nil || j.Kty == "oct" {
			return nil, fmt.Errorf("key %d is private or symmetric", i)
		}
		if len(j.KID) > maxKID || j.KID != "" && seen[j.KID] {
			return nil, fmt.Errorf("key %d: its id is too long, or that of another", i)
		}
		seen[j.KID] = true
		if j.Use != "" && j.Use != "sig" || j.Kty != "RSA" && j.Kty != "EC" || j.Kty == "EC" && curve(j.Crv) == nil {
			continue
		}
		k, err := j.key()
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		out = append(out, *k)
	}
	if len(out) == 0 {
		return nil, errors.New("key set without a usable key")
	}
	return out, nil
}

func (j *jwk) key() (*ForeignKey, error) {
	k := &ForeignKey{KID: j.KID, Alg: j.Alg}
	var err error
	switch {
	case j.Kty == "RSA" && j.N != "":
		k.Public, err = j.rsa()
	case j.Kty == "EC":
		k.Public, err = j.ec()
	}
	if err != nil {
		return nil, err
	}
	if len(j.X5C) > 0 {
		if err := j.certified(k); err != nil {
			return nil, err
		}
	}
	switch pub := k.Public.(type) {
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n < minModulus || n > maxModulus || pub.E != rsaExponent {
			return nil, fmt.Errorf("RSA of %d bits with e = %d", n, pub.E)
		}
	case *ecdsa.PublicKey:
	default:
		return nil, errors.New("names no key")
	}
	return k, nil
}

// certified takes the key of the first certificate. The set is what is trusted, by
// where it came from, so that the certificate needs no issuer.
func (j *jwk) certified(k *ForeignKey) error {
	der, err := base64.StdEncoding.Strict().DecodeString(j.X5C[0])
	if err != nil {
		return fmt.Errorf("x5c: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("x5c: %w", err)
	}
	pub, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || k.Public != nil && !pub.Equal(k.Public) {
		return errors.New("x5c is of another key")
	}
	_, isRSA := cert.PublicKey.(*rsa.PublicKey)
	if isRSA != (j.Kty == "RSA") {
		return errors.New("x5c is of another kind of key")
	}
	k.Public, k.From, k.End = cert.PublicKey, cert.NotBefore, cert.NotAfter
	return nil
}

func (j *jwk) rsa() (*rsa.PublicKey, error) {
	n, errN := canonical(j.N)
	e, errE := canonical(j.E)
	if errN != nil || errE != nil || len(e) > 4 {
		return nil, errors.New("n or e is not base64url, or e is too long")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
}

func (j *jwk) ec() (*ecdsa.PublicKey, error) {
	c := curve(j.Crv)
	size := (c.Params().BitSize + 7) / 8
	x, errX := canonical(j.X)
	y, errY := canonical(j.Y)
	if errX != nil || errY != nil || len(x) != size || len(y) != size {
		return nil, fmt.Errorf("x or y is not base64url of %d bytes", size)
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(c, append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	return pub, nil
}

func curve(name string) elliptic.Curve {
	switch name {
	case "P-256":
		return elliptic.P256()
	case "P-384":
		return elliptic.P384()
	}
	return nil
}

// canonical decodes base64url in its one spelling.
func canonical(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // the decoder skips them
		return nil, errors.New("line break")
	}
	return b64.DecodeString(s)
}
