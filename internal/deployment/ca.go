package deployment

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Lives of certificates. Clocks of booting machines lag, so each is valid from a
// day before it was made.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 7 * 24 * time.Hour
	backdate = 24 * time.Hour
)

// CA is a certificate authority of the deployment.
type CA struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
}

// oidKeyPurposeAIK is tcg-kp-AIKCertificate. The AK CA is confined to it, so that
// nothing it signs is ever valid for TLS.
var oidKeyPurposeAIK = asn1.ObjectIdentifier{2, 23, 133, 8, 3}

func forAK(c *x509.Certificate)  { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oidKeyPurposeAIK} }
func forTLS(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }

func newCA(name string, now time.Time, purpose func(*x509.Certificate)) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	purpose(template)
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return authority{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return authority{Cert: cert, Key: der}, err
}

// cas opens a list of authorities and checks that key and certificate belong together.
func cas(list []authority) ([]CA, error) {
	var out []CA
	for _, a := range list {
		cert, err := x509.ParseCertificate(a.Cert)
		if err != nil {
			return nil, err
		}
		key, err := keys([][]byte{a.Key})
		if err != nil {
			return nil, err
		}
		if !key[0].PublicKey.Equal(cert.PublicKey) {
			return nil, errors.New("deployment keys: CA certificate and key do not belong together")
		}
		out = append(out, CA{Cert: cert, Key: key[0]})
	}
	return out, nil
}

// TLSLeaf makes the broker's TLS certificate for hosts (each HOST or HOST:PORT),
// good for a week from now; serve makes the next one well before. Its key lives
// in this process only.
func (d *Deployment) TLSLeaf(hosts []string, now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template, err := hostLeaf("OpenSKR broker", hosts, now)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := d.TLSCAs[0].issue(template, &key.PublicKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// hostLeaf is the certificate of a key of the broker for hosts, good for a week from now.
func hostLeaf(name string, hosts []string, now time.Time) (*x509.Certificate, error) {
	c := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(leafLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	return c, addHosts(c, hosts)
}

// issue signs a certificate for pub, which must not outlive the authority.
func (ca CA) issue(template *x509.Certificate, pub crypto.PublicKey) (*x509.Certificate, error) {
	if template.NotAfter.After(ca.Cert.NotAfter) {
		return nil, fmt.Errorf("TLS CA expires at %v: rotate it", ca.Cert.NotAfter)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, pub, ca.Key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func addHosts(c *x509.Certificate, hosts []string) error {
	for _, h := range hosts {
		if host, _, err := net.SplitHostPort(h); err == nil {
			h = host
		}
		h = strings.Trim(h, "[]")
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else if h != "" {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	if len(c.IPAddresses)+len(c.DNSNames) == 0 {
		return errors.New("TLS certificate: no host name")
	}
	return nil
}

// pemOf joins the certificates of cas.
func pemOf(list []CA) string {
	var b bytes.Buffer
	for _, ca := range list {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: ca.Cert.Raw}) //nolint:errcheck // a Buffer takes everything
	}
	return b.String()
}

// vkeyOf gives the verifier key of a note signer key: package note generates
// pairs but does not give the public half of a private one.
func vkeyOf(skey string) (string, error) {
	parts := strings.SplitN(skey, "+", 5) // PRIVATE+KEY+name+hash+key
	if len(parts) != 5 {
		return "", errors.New("malformed log key")
	}
	raw, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return "", errors.New("malformed log key")
	}
	defer clear(raw)
	public := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey) //nolint:errcheck // the type is documented
	return note.NewEd25519VerifierKey(parts[2], public)
}
