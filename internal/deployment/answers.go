package deployment

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"strings"
	"time"
)

// AnswerChain makes a certificate for pub, which signs releases of the Key Vault door
// for one authority, HOST or HOST:PORT; with the TLS CA, which clients trust already, as
// its root. Microsoft's clients hold the name against the authority as it was
// configured, with its port, so that it is among the names too (wire format: §3.4). It
// is good for a week.
func (d *Deployment) AnswerChain(pub crypto.PublicKey, host string, now time.Time) ([]*x509.Certificate, error) {
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
