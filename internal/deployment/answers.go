package deployment

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/openskr/openskr/internal/jose"
)

// Signatures of releases through the Key Vault door.
const (
	AnswerRS256 = "RS256" // what Microsoft's SKR clients verify
	AnswerES256 = "ES256" // a thirtieth of the cost, for clients that can
)

// answerHosts bounds how many authorities have a certificate at once.
const answerHosts = 1 << 10

// Answers signs releases of the Key Vault door. Its key lives in this process only; for
// each authority it has a certificate of the TLS CA, which clients trust already. It is
// safe for concurrent use.
type Answers struct {
	d   *Deployment
	now func() time.Time
	key func() (crypto.Signer, error)

	mu sync.Mutex
	by map[string]answerer
}

type answerer struct {
	signer *jose.ChainSigner
	until  time.Time // when the next certificate is due
}

// NewAnswers makes the key at the first use, or when Warm is called: RSA takes a while.
func (d *Deployment) NewAnswers(alg string, now func() time.Time) (*Answers, error) {
	a := &Answers{d: d, now: now, by: map[string]answerer{}}
	switch alg {
	case AnswerRS256:
		a.key = sync.OnceValues(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, attestationBits) })
	case AnswerES256:
		a.key = sync.OnceValues(func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) })
	default:
		return nil, fmt.Errorf("no answers are signed with %q", alg)
	}
	return a, nil
}

// Warm makes the key if there is none yet.
func (a *Answers) Warm() { _, _ = a.key() } // a failure comes again with SignFor

// SignFor implements the port of internal/api/keyvault: a compact JWS whose x5c is for
// host, HOST or HOST:PORT as clients write it in URLs.
func (a *Answers) SignFor(host string, payload []byte) (string, error) {
	s, err := a.signer(host)
	if err != nil {
		return "", err
	}
	return s.Sign(payload)
}

func (a *Answers) signer(host string) (*jose.ChainSigner, error) {
	key, err := a.key()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if have, ok := a.by[host]; ok && now.Before(have.until) {
		return have.signer, nil
	}
	chain, err := a.d.answerChain(key.Public(), host, now)
	if err != nil {
		return nil, err
	}
	s, err := jose.NewChainSigner(key, chain)
	if err != nil {
		return nil, err
	}
	if len(a.by) >= answerHosts {
		clear(a.by)
	}
	a.by[host] = answerer{signer: s, until: now.Add(leafLife / 2)}
	return s, nil
}

// answerChain makes the leaf for one authority. Microsoft's clients hold the name against
// the authority as it was configured, with its port, so that it is among the names too
// (wire format: §3.4).
func (d *Deployment) answerChain(pub crypto.PublicKey, host string, now time.Time) ([]*x509.Certificate, error) {
	ca := d.TLSCAs[0]
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "OpenSKR key release"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(leafLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if err := addHosts(template, []string{host}); err != nil {
		return nil, err
	}
	if _, port, err := net.SplitHostPort(host); err == nil && port != "443" {
		template.DNSNames = append(template.DNSNames, strings.ToLower(host))
	}
	if template.NotAfter.After(ca.Cert.NotAfter) {
		return nil, fmt.Errorf("TLS CA expires at %v: rotate it", ca.Cert.NotAfter)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, pub, ca.Key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return []*x509.Certificate{leaf, ca.Cert}, err
}
