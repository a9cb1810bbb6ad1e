package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

func TestIssuerConfig(t *testing.T) {
	const issuer = "oidc_issuers: [{issuer: https://a.example/t, audiences: [x]}]\n"
	for text, want := range map[string]string{
		issuer + "collateral_offline: true": "with collateral_offline nobody fetches",
		issuer + "token_issuers: [{kind: maa, issuer: https://a.example/t, jwks: https://b.example/k}]": "other keys in token_issuers",
		"oidc_issuers: [{issuer: https://a.example, audience: x}]":                                      "not found",
		"client_crl: [a.crl]": "there is no client_ca",
		issuer:                "",
	} {
		_, err := parseConfig([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	c, err := parseConfig([]byte(issuer))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.issuerURLs()["https://a.example/t"]; got != "https://a.example/t/.well-known/openid-configuration" {
		t.Errorf("keys from %q", got)
	}
}

// outsider is whoever signs certificates and tokens outside of the broker.
type outsider struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	root *x509.Certificate
}

func newOutsider(t *testing.T) *outsider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := &outsider{t: t, key: key}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, IsCA: true, BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	o.root = o.sign(c, c, &key.PublicKey)
	return o
}

func (o *outsider) sign(c, parent *x509.Certificate, pub any) *x509.Certificate {
	o.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, o.key)
	if err != nil {
		o.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		o.t.Fatal(err)
	}
	return cert
}

// client makes a client certificate with a DNS name.
func (o *outsider) client(name string) *tls.Certificate {
	o.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		o.t.Fatal(err)
	}
	leaf := o.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, o.root, &key.PublicKey)
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
}

// files writes the root and the key set.
func (o *outsider) files() (ca, jwks string) {
	o.t.Helper()
	dir := o.t.TempDir()
	ca, jwks = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "jwks.json")
	point, err := o.key.PublicKey.Bytes()
	if err != nil {
		o.t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	set := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":%q,"y":%q}]}`, enc(point[1:33]), enc(point[33:]))
	for path, b := range map[string][]byte{ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.root.Raw}), jwks: []byte(set)} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			o.t.Fatal(err)
		}
	}
	return ca, jwks
}

const outsideIssuer = "https://login.example/tenant"

// token makes a token of the issuer for an audience.
func (o *outsider) token(audience string) string {
	o.t.Helper()
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{"iss": outsideIssuer, "aud": audience, "sub": "workload", "groups": []string{"auditors"}, "iat": now, "exp": now + 600})
	if err != nil {
		o.t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	input := enc([]byte(`{"alg":"ES256","typ":"JWT","kid":"k"}`)) + "." + enc(claims)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, o.key, sum[:])
	if err != nil {
		o.t.Fatal(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return input + "." + enc(sig)
}

// asks sends GET /metrics, which an auditor may, as told; 0: no connection.
func (r *rig) asks(t *testing.T, cert *tls.Certificate, token string) int {
	t.Helper()
	config := r.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	tr := &http.Transport{TLSClientConfig: config}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// makePrincipal puts an auditor into the deployment.
func makePrincipal(ctx context.Context, t *testing.T, b *broker, proof func(*identity.Principal)) string {
	t.Helper()
	p, _, err := identity.NewPrincipal("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p.Salt, p.Hash = nil, nil
	proof(p)
	value, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	roles, err := identity.EncodeAssignments([]identity.Assignment{{ID: p.ID, Role: identity.RoleAuditor, Scope: identity.Everywhere, By: "test"}})
	if err != nil {
		t.Fatal(err)
	}
	for kind, v := range map[string][]byte{release.ObjectPrincipal: value, release.ObjectRoles: roles} {
		if _, err := b.log.Objects().ChangeObject(ctx, b.records(ctx, "test"), kind, p.ID, func(*release.Object) ([]byte, error) { return v, nil }); err != nil {
			t.Fatal(err)
		}
	}
	return p.ID
}

// TestCallers: a client certificate, a federated token and a token of an identity
// provider reach a served broker, and do so no more after the configuration changes.
func TestCallers(t *testing.T) {
	o, stranger := newOutsider(t), newOutsider(t)
	r := bareRig(t, initFlags{})
	var federated string
	r.withBroker(func(ctx context.Context, b *broker) {
		makePrincipal(ctx, t, b, func(p *identity.Principal) {
			p.Certificates = []identity.Certificate{{SAN: "dns:app.example"}}
		})
		federated = makePrincipal(ctx, t, b, func(p *identity.Principal) {
			p.Federated = []identity.Federated{{Issuer: outsideIssuer, Subject: "workload", Audience: "api://exchange"}}
		})
	})
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	ca, jwks := o.files()
	cfg.ClientCA = []string{ca}
	cfg.OIDCIssuers = []OIDCIssuer{{
		Issuer: outsideIssuer, Audiences: []string{"https://vault.azure.net"}, JWKS: jwks, Algorithms: []string{"ES256"},
		Roles: []RoleMapping{{Claim: "groups", Value: "auditors", Role: identity.RoleAuditor, Scope: "/"}},
	}}
	if err := cfg.write(r.dir, "test"); err != nil {
		t.Fatal(err)
	}
	r.start(servedBroker{})
	direct := o.token("https://vault.azure.net")
	exchanged := r.exchange(t, federated, o.token("api://exchange"))
	for name, c := range map[string]struct {
		cert  *tls.Certificate
		token string
		want  int
	}{
		"nothing":                          {nil, "", http.StatusUnauthorized},
		"certificate":                      {o.client("app.example"), "", http.StatusOK},
		"certificate of nobody":            {o.client("other.example"), "", http.StatusUnauthorized},
		"another CA's":                     {stranger.client("app.example"), "", 0},
		"provider's token":                 {nil, direct, http.StatusOK},
		"federated token":                  {nil, exchanged, http.StatusOK},
		"for the exchange only":            {nil, o.token("api://exchange"), http.StatusUnauthorized},
		"another's signature":              {nil, stranger.token("https://vault.azure.net"), http.StatusUnauthorized},
		"certificate, token of another":    {o.client("app.example"), exchanged, http.StatusUnauthorized},
		"certificate and malformed header": {o.client("app.example"), "a b", http.StatusUnauthorized},
	} {
		if got := r.asks(t, c.cert, c.token); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	cfg.ClientCA, cfg.OIDCIssuers = nil, nil
	if err := cfg.write(r.dir, "test"); err != nil {
		t.Fatal(err)
	}
	if err := r.child.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the issuer is gone", func() bool { return r.asks(t, nil, direct) == http.StatusUnauthorized })
	if got := r.asks(t, o.client("app.example"), ""); got != http.StatusUnauthorized {
		t.Errorf("certificate after its CA was taken away: %d", got)
	}
	if err := r.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// revokes writes the list of the outsider's CA.
func (o *outsider) revokes(path string, serials ...int64) {
	o.t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, n := range serials {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: l.ThisUpdate})
	}
	issuer := *o.root
	issuer.KeyUsage |= x509.KeyUsageCRLSign
	der, err := x509.CreateRevocationList(rand.Reader, l, &issuer, o.key)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// TestClientCRL: a certificate that its CA takes back proves nobody after SIGHUP, and may
// again once it is off the list.
func TestClientCRL(t *testing.T) {
	o := newOutsider(t)
	r := bareRig(t, initFlags{})
	r.withBroker(func(ctx context.Context, b *broker) {
		makePrincipal(ctx, t, b, func(p *identity.Principal) { p.Certificates = []identity.Certificate{{SAN: "dns:app.example"}} })
	})
	cfg, err := loadConfig(r.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	ca, _ := o.files()
	list := filepath.Join(t.TempDir(), "ca.crl")
	cfg.ClientCA, cfg.ClientCRL = []string{ca}, []string{list}
	if err := cfg.write(r.dir, "test"); err != nil {
		t.Fatal(err)
	}
	o.revokes(list, 3)
	r.start(servedBroker{})
	cert := o.client("app.example") // its serial number is 2
	if got := r.asks(t, cert, ""); got != http.StatusOK {
		t.Fatalf("not on the list: %d", got)
	}
	hangup := func() {
		t.Helper()
		if err := r.child.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	o.revokes(list, 2, 3)
	hangup()
	eventually(t, "the certificate is revoked", func() bool { return r.asks(t, cert, "") == http.StatusUnauthorized })
	o.revokes(list)
	hangup()
	eventually(t, "the certificate is good again", func() bool { return r.asks(t, cert, "") == http.StatusOK })
	if err := r.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// TestNoRevocationLists: who names lists means that they are asked for, whatever became of
// the files.
func TestNoRevocationLists(t *testing.T) {
	dir := t.TempDir()
	if out, err := revocationLists([]string{dir}); err == nil {
		t.Errorf("an empty folder gives %d lists, and nobody asks for one", len(out))
	}
	if out, err := revocationLists(nil); err != nil || out != nil {
		t.Errorf("none named: %v, %v", out, err)
	}
	newOutsider(t).revokes(filepath.Join(dir, "ca.crl"), 2)
	if out, err := revocationLists([]string{dir}); err != nil || len(out) != 1 {
		t.Errorf("%d lists, %v", len(out), err)
	}
	half := filepath.Join(dir, "half.crl")
	for name, b := range map[string][]byte{"DER": []byte("0\x03"), "PEM": pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte("0\x03")})} {
		write(t, half, b)
		if _, err := revocationLists([]string{dir}); err == nil || !strings.Contains(err.Error(), half) {
			t.Errorf("half a list, %s: %v, which does not name its file", name, err)
		}
	}
}

// exchange asks the token service with a client assertion.
func (r *rig) exchange(t *testing.T, id, assertion string) string {
	t.Helper()
	resp, err := r.client.PostForm(r.url+"/"+r.trust.Deployment+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {id}, "client_assertion": {assertion}, "client_assertion_type": {identity.AssertionType},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var tok identity.Token
	if err := json.NewDecoder(resp.Body).Decode(&tok); err != nil || tok.Access == "" {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return tok.Access
}
