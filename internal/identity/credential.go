package identity

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// Bounds of what a principal may be proven by.
const (
	maxCertificates = 8
	maxFederated    = 20 // as at Azure
	maxClaim        = 512
)

// Certificate proves a principal. Exactly one member is set.
type Certificate struct {
	// DER is an X.509 certificate: a client assertion signed by its key proves the
	// principal, and so does the certificate as client certificate of a TLS connection
	// where it chains to client_ca.
	DER []byte `json:"der,omitempty"`
	// SAN is "uri:…" or "dns:…": any client certificate that chains to client_ca and
	// has this subject alternative name proves the principal. In TLS only.
	SAN string `json:"san,omitempty"`
}

// Federated is an identity of an external OIDC issuer. A token of it, presented as
// client assertion, proves the principal. All three compare byte for byte.
type Federated struct {
	Issuer   string `json:"issuer"` // https URL, one of oidc_issuers
	Subject  string `json:"subject"`
	Audience string `json:"audience"`
}

// Parse gives the certificate, nil for a SAN. RSA of 2048 to 8192 bits, P-256 and P-384.
func (c *Certificate) Parse() (*x509.Certificate, error) {
	if c.SAN != "" {
		if len(c.DER) > 0 {
			return nil, errors.New("certificate and SAN together")
		}
		return nil, checkSAN(c.SAN)
	}
	cert, err := x509.ParseCertificate(c.DER)
	if err != nil {
		return nil, err
	}
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < 2048 || n > 8192 {
			return nil, fmt.Errorf("RSA of %d bits, want 2048 to 8192", n)
		}
	case *ecdsa.PublicKey:
		if n := key.Params().BitSize; n != 256 && n != 384 {
			return nil, fmt.Errorf("curve %s, want P-256 or P-384", key.Params().Name)
		}
	default:
		return nil, errors.New("neither an RSA nor an EC key")
	}
	return cert, nil
}

func checkSAN(san string) error {
	kind, name, _ := strings.Cut(san, ":")
	if (kind != "uri" && kind != "dns") || name == "" || len(san) > maxClaim || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("san %.64q: want uri:… or dns:…", san)
	}
	if kind == "dns" && (name != strings.ToLower(name) || strings.Contains(name, "*")) {
		return fmt.Errorf("san %.64q: want a name in lower case, without wildcard", san)
	}
	return nil
}

func (f *Federated) validate() error {
	if err := checkIssuerURL(f.Issuer); err != nil {
		return fmt.Errorf("issuer %.64q: %w", f.Issuer, err)
	}
	for name, v := range map[string]string{"subject": f.Subject, "audience": f.Audience} {
		if v == "" || len(v) > maxClaim {
			return fmt.Errorf("%s: want 1 to %d bytes", name, maxClaim)
		}
	}
	return nil
}

// credentials judges what proves p besides its secret.
func (p *Principal) credentials() error {
	if len(p.Certificates) > maxCertificates || len(p.Federated) > maxFederated {
		return fmt.Errorf("principal: more than %d certificates or %d federated identities", maxCertificates, maxFederated)
	}
	for i := range p.Certificates {
		if _, err := p.Certificates[i].Parse(); err != nil {
			return fmt.Errorf("principal: certificate %d: %w", i, err)
		}
	}
	for i := range p.Federated {
		if err := p.Federated[i].validate(); err != nil {
			return fmt.Errorf("principal: federated identity %d: %w", i, err)
		}
	}
	return nil
}
