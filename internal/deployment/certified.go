package deployment

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"time"
)

// attestationBits is the size of the key that signs attestation tokens: Microsoft's
// SKR clients expect 2048.
const attestationBits = 2048

// Certified is an RSA signing key with a certificate that it signed itself: Azure's
// clients read keys from certificates. Trust comes from where the key set was fetched.
type Certified struct {
	Cert *x509.Certificate
	Key  *rsa.PrivateKey
}

// Format keeps the key out of logs, whatever the verb.
func (c Certified) Format(f fmt.State, _ rune) { fmt.Fprint(f, "attestation key") } //nolint:errcheck // nowhere to report to

func newCertified(name string, now time.Time) (authority, error) {
	key, err := rsa.GenerateKey(rand.Reader, attestationBits)
	if err != nil {
		return authority{}, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife),
		BasicConstraintsValid: true, // and not a CA
		KeyUsage:              x509.KeyUsageDigitalSignature,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return authority{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return authority{Cert: cert, Key: der}, err
}

// certifieds opens a list and checks that key and certificate belong together.
func certifieds(list []authority) ([]Certified, error) {
	var out []Certified
	for _, a := range list {
		cert, err := x509.ParseCertificate(a.Cert)
		if err != nil {
			return nil, err
		}
		k, err := x509.ParsePKCS8PrivateKey(a.Key)
		if err != nil {
			return nil, errors.New("deployment keys: an attestation key is malformed") // not err: it may quote a key
		}
		key, ok := k.(*rsa.PrivateKey)
		if !ok || key.N.BitLen() != attestationBits || !key.PublicKey.Equal(cert.PublicKey) {
			return nil, errors.New("deployment keys: an attestation key is not RSA of 2048 bits, or not that of its certificate")
		}
		out = append(out, Certified{Cert: cert, Key: key})
	}
	return out, nil
}
