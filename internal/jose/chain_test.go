package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// chainOf makes a leaf for key below a root.
func chainOf(t testing.TB, key crypto.Signer) []*x509.Certificate {
	t.Helper()
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	make := func(template, parent *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, rootKey)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	root := make(ca, ca, rootKey.Public())
	return []*x509.Certificate{make(&x509.Certificate{SerialNumber: big.NewInt(2)}, root, key.Public()), root}
}

// TestChainSigner: an independent library verifies it with the key of x5c[0], and the
// header has what Azure's has.
func TestChainSigner(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for alg, key := range map[string]crypto.Signer{"RS256": rsaKey, "ES256": ecKey} {
		chain := chainOf(t, key)
		s, err := NewChainSigner(key, chain)
		if err != nil {
			t.Fatal(err)
		}
		token, err := s.Sign([]byte(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(token, "=") {
			t.Error("padded")
		}
		if got, err := jws.Verify([]byte(token), jws.WithKey(jwa.SignatureAlgorithm(alg), key.Public())); err != nil || string(got) != `{"a":1}` {
			t.Errorf("%s: %s, %v", alg, got, err)
		}
		part, _, _ := strings.Cut(token, ".")
		raw, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		var h map[string]any
		if err := json.Unmarshal(raw, &h); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(chain[0].Raw)
		x5c, _ := h["x5c"].([]any)
		if h["alg"] != alg || h["typ"] != "JWT" || len(x5c) != 2 || x5c[1] != base64.StdEncoding.EncodeToString(chain[1].Raw) ||
			h["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) || len(h["kid"].(string)) != 40 || h["kid"] != strings.ToUpper(h["kid"].(string)) {
			t.Errorf("%s", raw)
		}
	}
	if _, err := NewChainSigner(ecKey, chainOf(t, rsaKey)); err == nil {
		t.Error("a certificate of another key")
	}
	if _, err := NewChainSigner(rsaKey, chainOf(t, rsaKey)[:1]); err == nil {
		t.Error("a chain without a root")
	}
}
