package jose

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
)

// CertifiedKey is an RSA signing key with the certificate it is published under.
type CertifiedKey struct {
	Cert *x509.Certificate
	Key  *rsa.PrivateKey
}

// Format keeps the key out of logs, whatever the verb.
func (k CertifiedKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "RSA signing key") } //nolint:errcheck // nowhere to report to

// serviceHeader is the protected header of a token of the attestation service, its
// members in the order of Azure Attestation (wire format: §5.7).
type serviceHeader struct {
	Alg string `json:"alg"`
	JKU string `json:"jku"`
	KID string `json:"kid"`
	Typ string `json:"typ"`
}

// RS256Signer makes the JWTs of the attestation service. Azure's clients verify
// nothing but RS256, which is therefore signed here and nowhere else on the native
// door (design: D14). It is safe for concurrent use.
type RS256Signer struct {
	key *rsa.PrivateKey
	kid string
}

// NewRS256Signer makes a signer; the key has 2048 to 4096 bits and e = 65537, and the
// certificate is of it.
func NewRS256Signer(k CertifiedKey) (*RS256Signer, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	kid, err := CertifiedKeyID(&k.Key.PublicKey)
	if err != nil {
		return nil, err
	}
	return &RS256Signer{key: k.Key, kid: kid}, nil
}

func (k CertifiedKey) check() error {
	switch {
	case k.Key == nil || k.Cert == nil:
		return errors.New("jose: RSA key or its certificate missing")
	case k.Key.N.BitLen() < minModulus || k.Key.N.BitLen() > 4096 || k.Key.E != rsaExponent:
		return fmt.Errorf("jose: RSA of %d bits with e = %d", k.Key.N.BitLen(), k.Key.E)
	case !k.Key.PublicKey.Equal(k.Cert.PublicKey):
		return errors.New("jose: certificate and RSA key do not belong together")
	}
	return nil
}

// Sign makes a compact JWT; jku is the absolute URL of the key set.
func (s *RS256Signer) Sign(jku string, payload []byte) (string, error) {
	h, err := json.Marshal(serviceHeader{Alg: "RS256", JKU: jku, KID: s.kid, Typ: "JWT"})
	if err != nil {
		return "", fmt.Errorf("jose: header: %w", err)
	}
	out := make([]byte, 0, b64.EncodedLen(len(h))+b64.EncodedLen(len(payload))+b64.EncodedLen(s.key.Size())+2)
	out = append(b64.AppendEncode(out, h), '.')
	out = b64.AppendEncode(out, payload)
	digest := sha256.Sum256(out)
	sig, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, digest[:])
	if err != nil {
		return "", fmt.Errorf("jose: %w", err)
	}
	return string(b64.AppendEncode(append(out, '.'), sig)), nil
}

// CertifiedKeyID is standard base64 of SHA-256 over the SPKI, padded: the form that
// kids of Azure Attestation have.
func CertifiedKeyID(pub *rsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("jose: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

// PublicKey is a member of a published key set: n and e for libraries of JWTs, x5c for
// Azure's, which read nothing else.
type PublicKey struct {
	KID  string   `json:"kid"`
	Kty  string   `json:"kty"`
	Use  string   `json:"use"`
	Alg  string   `json:"alg"`
	N    string   `json:"n"`
	E    string   `json:"e"`
	X5C  []string `json:"x5c"`      // standard base64 of DER
	X5T  string   `json:"x5t"`      // SHA-1 of the certificate: a name, no proof
	X5TS string   `json:"x5t#S256"` // SHA-256 of it
}

// PublicKeySet is a published key set (RFC 7517).
type PublicKeySet struct {
	Keys []PublicKey `json:"keys"`
}

// Publish makes the key set of keys, in their order.
func Publish(keys []CertifiedKey) (*PublicKeySet, error) {
	out := &PublicKeySet{Keys: make([]PublicKey, len(keys))}
	for i, k := range keys {
		if err := k.check(); err != nil {
			return nil, err
		}
		kid, err := CertifiedKeyID(&k.Key.PublicKey)
		if err != nil {
			return nil, err
		}
		short, long := sha1.Sum(k.Cert.Raw), sha256.Sum256(k.Cert.Raw) //nolint:gosec // RFC 7517 §4.8 asks for it
		out.Keys[i] = PublicKey{
			KID: kid, Kty: "RSA", Use: "sig", Alg: "RS256",
			N: b64.EncodeToString(k.Key.N.Bytes()), E: "AQAB",
			X5C: []string{base64.StdEncoding.EncodeToString(k.Cert.Raw)},
			X5T: b64.EncodeToString(short[:]), X5TS: b64.EncodeToString(long[:]),
		}
	}
	return out, nil
}
