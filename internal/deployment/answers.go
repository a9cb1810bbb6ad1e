package deployment

import (
	"crypto"
	"crypto/x509"
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
	template, err := hostLeaf("OpenSKR key release", []string{host}, now)
	if err != nil {
		return nil, err
	}
	if _, port, err := net.SplitHostPort(host); err == nil && port != "443" {
		template.DNSNames = append(template.DNSNames, strings.ToLower(host))
	}
	leaf, err := ca.issue(template, pub)
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{leaf, ca.Cert}, nil
}
