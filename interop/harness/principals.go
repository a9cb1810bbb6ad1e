package harness

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Principals are callers besides the administrator, one for each way to prove
// oneself. All but the Reader are Key Vault Administrators.
type Principals struct {
	// Reader has a secret and no role.
	Reader Principal
	// Certificate is proven by the certificate in CertificateFile, PEM with its key.
	Certificate, CertificateFile string
	// Federated is proven by tokens of an identity provider (see [Broker.Assertion]).
	Federated string
}

// Role and federation.
const (
	vaultAdministrator = "00482a5a-887f-4fb3-b363-3b7fe8e74483"
	issuer             = "https://idp.example.com"
	subject            = "system:serviceaccount:prod:app"
	audience           = "api://AzureADTokenExchange"
)

// NewPrincipals makes them, with the rights that they need.
func (b *Broker) NewPrincipals(ctx context.Context) (*Principals, error) {
	p := &Principals{CertificateFile: filepath.Join(filepath.Dir(b.Dir), "principal.pem")}
	der, err := writeCertificate(p.CertificateFile)
	if err != nil {
		return nil, err
	}
	type object map[string]any
	made := func(body object) (Principal, error) {
		var out struct {
			ID     string `json:"client_id"`
			Secret string `json:"client_secret"`
		}
		err := b.call(ctx, http.MethodPost, b.Authority+"/v1/principals", body, &out)
		return Principal{out.ID, out.Secret}, err
	}
	if p.Reader, err = made(object{"name": "reader"}); err != nil {
		return nil, err
	}
	for id, body := range map[*string]object{
		&p.Certificate: {"name": "certificate", "no_secret": true, "certificates": []object{{"der": base64.RawURLEncoding.EncodeToString(der)}}},
		&p.Federated:   {"name": "federated", "no_secret": true, "federated": []object{{"issuer": issuer, "subject": subject, "audience": audience}}},
	} {
		made, err := made(body)
		if err != nil {
			return nil, err
		}
		*id = made.ID
		if err := b.assign(ctx, made.ID, vaultAdministrator); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// assign gives a principal a role in every vault.
func (b *Broker) assign(ctx context.Context, principal, role string) error {
	id := fmt.Sprintf("%x-%x-4000-8000-%x", random(4), random(2), random(6))
	return b.call(ctx, http.MethodPut, b.Authority+"/providers/Microsoft.Authorization/roleAssignments/"+id+"?api-version=7.4", map[string]any{
		"properties": map[string]string{"roleDefinitionId": "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/" + role, "principalId": principal},
	}, nil)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// writeCertificate makes a key and a certificate of its own, writes both as PEM and
// gives the certificate.
func writeCertificate(path string) ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	out := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	return der, os.WriteFile(path, out, 0o600)
}
