package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
)

// chainHeader is the protected header of Key Vault's answer to a release, its members
// in the order of Azure's (wire format: §3.2).
type chainHeader struct {
	Alg  string   `json:"alg"`
	KID  string   `json:"kid"` // SHA-1 of the certificate, upper-case hex
	X5T  string   `json:"x5t"`
	X5TS string   `json:"x5t#S256"`
	X5C  []string `json:"x5c"` // standard base64 of DER, leaf first, root last
	Typ  string   `json:"typ"`
}

// ChainSigner makes compact JWS that carry the certificate chain of their key: who
// verifies them trusts the root and nothing else. It is safe for concurrent use.
type ChainSigner struct {
	key  crypto.Signer
	head []byte // encoded, with the dot behind it
}

// NewChainSigner makes a signer of a chain, leaf first and root last. The leaf's key is
// RSA of 2048 to 4096 bits (RS256) or P-256 (ES256).
func NewChainSigner(key crypto.Signer, chain []*x509.Certificate) (*ChainSigner, error) {
	if key == nil || len(chain) < 2 {
		return nil, errors.New("jose: a chain is a leaf, what is between, and a root")
	}
	s, alg := &ChainSigner{key: key}, ""
	switch k := key.(type) {
	case *rsa.PrivateKey:
		alg = "RS256"
		if err := (CertifiedKey{Cert: chain[0], Key: k}).check(); err != nil {
			return nil, err
		}
	case *ecdsa.PrivateKey:
		if alg = "ES256"; k.Params().BitSize != 256 || !k.PublicKey.Equal(chain[0].PublicKey) {
			return nil, errors.New("jose: the leaf is not of this P-256 key")
		}
	default:
		return nil, fmt.Errorf("jose: no signatures with %T", key)
	}
	short, long := sha1.Sum(chain[0].Raw), sha256.Sum256(chain[0].Raw) //nolint:gosec // names, no proofs
	h := chainHeader{
		Alg: alg, KID: strings.ToUpper(hex.EncodeToString(short[:])), X5T: b64.EncodeToString(short[:]), X5TS: b64.EncodeToString(long[:]), Typ: "JWT",
	}
	for _, c := range chain {
		h.X5C = append(h.X5C, base64.StdEncoding.EncodeToString(c.Raw))
	}
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("jose: header: %w", err)
	}
	s.head = append(b64.AppendEncode(nil, b), '.')
	return s, nil
}

// Format keeps the key out of logs, whatever the verb.
func (s *ChainSigner) Format(f fmt.State, _ rune) { fmt.Fprint(f, "signing key with its chain") } //nolint:errcheck // nowhere to report to

// Sign makes a compact JWS.
func (s *ChainSigner) Sign(payload []byte) (string, error) {
	out := make([]byte, 0, len(s.head)+b64.EncodedLen(len(payload))+700)
	out = b64.AppendEncode(append(out, s.head...), payload)
	digest := sha256.Sum256(out)
	sig, err := s.sign(digest[:])
	if err != nil {
		return "", fmt.Errorf("jose: %w", err)
	}
	return string(b64.AppendEncode(append(out, '.'), sig)), nil
}

func (s *ChainSigner) sign(digest []byte) ([]byte, error) {
	if k, ok := s.key.(*ecdsa.PrivateKey); ok {
		return signES256(k, digest)
	}
	return s.key.Sign(rand.Reader, digest, crypto.SHA256)
}
