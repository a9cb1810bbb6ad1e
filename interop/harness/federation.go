package harness

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// provider is an identity provider that the broker believes: its keys are in a file
// that the configuration names.
type provider struct{ key *rsa.PrivateKey }

// federate makes the provider and tells the broker of it.
func (b *Broker) federate() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	b.provider = &provider{key}
	keys, err := json.Marshal(map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": "AQAB",
	}}})
	if err != nil {
		return err
	}
	file := filepath.Join(filepath.Dir(b.Dir), "idp.json")
	if err := os.WriteFile(file, keys, 0o644); err != nil {
		return err
	}
	return b.configure("oidc_issuers", fmt.Sprintf("[{issuer: %q, jwks: %q}]", issuer, file))
}

// configure sets a member of the configuration that init wrote.
func (b *Broker) configure(member, value string) error {
	path := filepath.Join(b.Dir, "openskr.yaml")
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	line := regexp.MustCompile(`(?m)^` + member + `: .*$`)
	if !line.Match(old) {
		return fmt.Errorf("%s has no %s", path, member)
	}
	return os.WriteFile(path, line.ReplaceAllLiteral(old, []byte(member+": "+value)), 0o600)
}

// Assertion is a fresh token of the provider for the federated principal.
func (b *Broker) Assertion() (string, error) {
	now := time.Now().Unix()
	head, err1 := json.Marshal(map[string]string{"alg": "RS256", "kid": "1", "typ": "JWT"})
	body, err2 := json.Marshal(map[string]any{
		"iss": issuer, "sub": subject, "aud": audience, "iat": now, "nbf": now, "exp": now + 3600, "jti": rand.Text(),
	})
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	signed := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	hash := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(nil, b.provider.key, crypto.SHA256, hash[:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig), err
}
