package keyprovider

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release/wrap"
)

// recipient is a key that seals, and opens when its private half is there.
type recipient struct {
	kid, alg string
	rsa      *rsa.PublicKey  // of algRSA
	ec       *ecdh.PublicKey // of algEC
	// material is the released key, nil of a public half.
	material *agent.Secret
}

// Close erases a released key. A public half has nothing to erase.
func (r *recipient) Close() error { return r.material.Close() }

// released is the recipient that a released key is.
func released(rel *agent.Released) (*recipient, error) {
	r := &recipient{kid: rel.KID, material: rel.Material}
	if strings.TrimSuffix(rel.Kty, "-HSM") == "oct" {
		if n := len(rel.Material.Bytes()); n != aesKey {
			return nil, fmt.Errorf("an oct key of %d bits, want %d", 8*n, 8*aesKey)
		}
		r.alg = algOct
		return r, nil
	}
	private, err := x509.ParsePKCS8PrivateKey(rel.Material.Bytes())
	if err != nil {
		return nil, fmt.Errorf("type %.16q is not supported, want oct, RSA or EC on P-256", rel.Kty)
	}
	switch k := private.(type) {
	case *rsa.PrivateKey:
		// A pointer to the one inside of k would keep all of k from being erased.
		r.alg, r.rsa = algRSA, &rsa.PublicKey{N: k.N, E: k.E}
		return r, nil
	case *ecdsa.PrivateKey:
		pub, err := k.PublicKey.ECDH()
		if err != nil || pub.Curve() != ecdh.P256() {
			return nil, fmt.Errorf("EC on %s is not supported, want P-256", k.Curve.Params().Name)
		}
		r.alg, r.ec = algEC, pub
		return r, nil
	}
	return nil, fmt.Errorf("type %.16q is not supported, want oct, RSA or EC on P-256", rel.Kty)
}

// MaxPublicKey bounds a shown key in bytes; most of it is the release policy.
const MaxPublicKey = 256 << 10

// publicJWK is every member that Key Vault gives of a public key.
type publicJWK struct {
	KID    string         `json:"kid"`
	Kty    string         `json:"kty"`
	KeyOps jsontext.Value `json:"key_ops"` // what the vault does with it; nothing, of an attested-only key
	N      string         `json:"n"`
	E      string         `json:"e"`
	Crv    string         `json:"crv"`
	X      string         `json:"x"`
	Y      string         `json:"y"`
}

// parsePublic reads what `openskr key show NAME --json` prints, or the JWK in it. What
// stands beside the JWK is not looked at; in it, no member but these is taken.
func parsePublic(b []byte) (r *recipient, err error) {
	var shown struct {
		Key jsontext.Value `json:"key"`
	}
	if len(b) > MaxPublicKey {
		return nil, fmt.Errorf("%d bytes, limit %d", len(b), MaxPublicKey)
	}
	if err := json.Unmarshal(b, &shown); err == nil && shown.Key != nil {
		b = shown.Key
	}
	var k publicJWK
	if err := strict.Unmarshal(b, wrap.MaxJWK, &k); err != nil {
		return nil, errors.New("want what openskr key show NAME --json prints: a private key has no place here")
	}
	if !keyURL.MatchString(k.KID) || !versioned(k.KID) {
		return nil, fmt.Errorf("kid %.256q is not the URL of a key with its version", k.KID)
	}
	r = &recipient{kid: k.KID}
	switch k.Kty {
	case "RSA", "RSA-HSM":
		r.alg = algRSA
		r.rsa, err = k.rsa()
	case "EC", "EC-HSM":
		r.alg = algEC
		r.ec, err = k.ec()
	default:
		err = fmt.Errorf("type %.16q has no public half to wrap to, want RSA or EC on P-256", k.Kty)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// rsa holds the modulus against what any recipient of this project must pass.
func (k *publicJWK) rsa() (*rsa.PublicKey, error) {
	jwk, err := strict.Marshal(map[string]string{"kty": "RSA", "n": k.N, "e": k.E})
	if err != nil {
		return nil, err
	}
	if err := (wrap.Wrapper{}).Vet(jwk); err != nil {
		return nil, err
	}
	n, err := decode(k.N)
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}, err // Vet takes no other exponent
}

func (k *publicJWK) ec() (*ecdh.PublicKey, error) {
	if k.Crv != "P-256" {
		return nil, fmt.Errorf("EC on %.16q is not supported, want P-256", k.Crv)
	}
	x, errX := decode(k.X)
	y, errY := decode(k.Y)
	const size = 32
	if err := errors.Join(errX, errY); err != nil || len(x) != size || len(y) != size {
		return nil, errors.New("x and y are 32 bytes each, in base64url")
	}
	return ecdh.P256().NewPublicKey(append(append([]byte{4}, x...), y...))
}

func decode(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }
