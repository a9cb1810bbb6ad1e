package skr

import (
	"crypto"
	"crypto/rsa"
	_ "crypto/sha256" // RS256, PS256
	_ "crypto/sha512" // RS384, RS512 and their PSS kin
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// header is what the sidecar reads of a release answer's protected header.
type header struct {
	Alg  string            `json:"alg"`
	X5C  []string          `json:"x5c"`
	Crit []json.RawMessage `json:"crit"`
}

// decodeSegment reads base64url without padding and without stray bits (wire.md §3.2).
func decodeSegment(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // encoding/base64 would skip them
		return nil, errors.New("base64url with a line break")
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}

// verifyJWS checks a compact JWS as the sidecar does (wire.md §3.4) and gives its
// payload: signed by x5c[0], an RSA key, which chains to roots over x5c[1:len-1] alone
// (the last element is taken for the root and dropped) and is a TLS server certificate
// for dnsName, compared with its port when it has one. Roots nil are the system's.
func verifyJWS(compact string, roots *x509.CertPool, dnsName string) ([]byte, error) {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("JWS has %d segments, not 3", len(parts))
	}
	var segments [3][]byte
	for i, p := range parts {
		b, err := decodeSegment(p)
		if err != nil {
			return nil, fmt.Errorf("JWS segment %d: %w", i, err)
		}
		segments[i] = b
	}
	var h header
	if err := json.Unmarshal(segments[0], &h); err != nil {
		return nil, fmt.Errorf("JWS header: %w", err)
	}
	if h.Crit != nil {
		return nil, errors.New("JWS header has crit, which no SKR client understands")
	}
	chain, err := parseX5C(h.X5C)
	if err != nil {
		return nil, err
	}
	key, ok := chain[0].PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("x5c[0] has a %T, the sidecar knows RSA only", chain[0].PublicKey)
	}
	if err := verifyRSA(h.Alg, key, parts[0]+"."+parts[1], segments[2]); err != nil {
		return nil, err
	}
	if err := verifyChain(chain, roots, dnsName); err != nil {
		return nil, err
	}
	return segments[1], nil
}

func parseX5C(x5c []string) ([]*x509.Certificate, error) {
	if len(x5c) == 0 {
		return nil, errors.New("JWS header has no x5c")
	}
	var chain []*x509.Certificate
	for i, s := range x5c {
		der, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return nil, fmt.Errorf("x5c[%d] is not standard base64: %w", i, err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("x5c[%d]: %w", i, err)
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

func verifyRSA(alg string, key *rsa.PublicKey, signed string, sig []byte) error {
	hashes := map[string]crypto.Hash{
		"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512,
		"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512,
	}
	hash, ok := hashes[alg]
	if !ok {
		return fmt.Errorf("alg %q is not one of an RSA key", alg)
	}
	h := hash.New()
	h.Write([]byte(signed))
	var err error
	if strings.HasPrefix(alg, "PS") {
		err = rsa.VerifyPSS(key, hash, h.Sum(nil), sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	} else {
		err = rsa.VerifyPKCS1v15(key, hash, h.Sum(nil), sig)
	}
	if err != nil {
		return fmt.Errorf("JWS signature by x5c[0]: %w", err)
	}
	return nil
}

func verifyChain(chain []*x509.Certificate, roots *x509.CertPool, dnsName string) error {
	intermediates := x509.NewCertPool()
	for i := 1; i < len(chain)-1; i++ {
		intermediates.AddCert(chain[i])
	}
	// KeyUsages stays empty: Go then demands serverAuth, and so does the sidecar.
	opts := x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: dnsName}
	if _, err := chain[0].Verify(opts); err != nil {
		return fmt.Errorf("x5c for %q: %w", dnsName, err)
	}
	return nil
}
