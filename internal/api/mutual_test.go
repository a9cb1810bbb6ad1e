package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

// clientCertificate makes a certificate that is its own CA, and an identity service
// that believes it.
func clientCertificate(t *testing.T, c *Config) *x509.Certificate {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: c.Now().AddDate(-1, 0, 0), NotAfter: c.Now().AddDate(1, 0, 0), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(err)
	cert, err := x509.ParseCertificate(der)
	must(err)
	signer, err := jose.NewSigner(key, jose.TypeAccessToken)
	must(err)
	pinned, err := jose.NewKeys(&key.PublicKey)
	must(err)
	c.Identity, err = identity.New(identity.Config{
		Deployment: testDeployment, Objects: c.Objects, Signer: signer, Keys: pinned, List: c.Objects.List, Now: c.Now,
	})
	must(err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	must(c.Identity.Use(identity.Trust{ClientCAs: pool}))
	return cert
}

// TestBrowserCertificate: a browser shows the certificate that its user has to whatever
// server a page asks it to talk to, and asks that server nothing before a POST without
// a body. So a page of another origin could rotate keys and reset secrets.
func TestBrowserCertificate(t *testing.T) {
	var cert *x509.Certificate
	h := newHarness(t, func(c *Config) { cert = clientCertificate(t, c) })
	id, _ := h.principal("admin", identity.RoleCryptoOfficer)
	p, err := identity.DecodePrincipal(id, h.store.Docs[release.ObjectPrincipal+"/"+id].Value)
	h.must(err)
	p.Certificates = []identity.Certificate{{DER: cert.Raw}}
	h.store.Docs[release.ObjectPrincipal+"/"+id].Value, err = p.Encode()
	h.must(err)
	send := func(method, path, body string, headers ...string) *httptest.ResponseRecorder {
		var reader io.Reader = http.NoBody
		if body != "" {
			reader = strings.NewReader(body)
		}
		req := httptest.NewRequest(method, "https://"+testHost+path+"?api-version=7.6", reader)
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		req.Host, req.TLS = testHost, &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, req)
		return w
	}
	h.ok("a program", send(http.MethodPost, "/keys/k/create", `{"kty":"oct"}`), nil)
	before := len(h.store.Leaves)
	for name, headers := range map[string][]string{
		"another site":    {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
		"a sibling":       {"Sec-Fetch-Site", "same-site", "Origin", "https://kv2.vault.local:8443"},
		"a form":          {"Sec-Fetch-Site", "cross-site", "Content-Type", "application/x-www-form-urlencoded"},
		"an old browser":  {"Origin", "https://evil.example"},
		"of no origin":    {"Origin", "null"},
		"of another port": {"Origin", "https://kv1.vault.local"},
	} {
		h.want(name, send(http.MethodPost, "/keys/k/rotate", "", headers...), http.StatusUnauthorized, release.ReasonUnauthorized)
		h.want(name+", method", send(http.MethodDelete, "/keys/k", "", headers...), http.StatusUnauthorized, release.ReasonUnauthorized)
	}
	if n := len(h.store.Leaves); n != before {
		t.Errorf("%d changes were made", n-before)
	}
	h.ok("a page of the broker", send(http.MethodPost, "/keys/k/rotate", "", "Sec-Fetch-Site", "same-origin", "Origin", "https://"+testHost), nil)
	h.ok("a program", send(http.MethodPost, "/keys/k/rotate", ""), nil)
}
