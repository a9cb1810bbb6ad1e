package attestation_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openskr/openskr/attest/all"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	tdxsim "github.com/openskr/openskr/attest/tdx/simulated"
	"github.com/openskr/openskr/internal/api/attestation"
	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

const host = "kv1.vault.local:8443"

func now() time.Time { return time.Now() }

// signingKeys are the deployment's attestation keys, made once: they are slow to make.
var signingKeys = sync.OnceValue(func() []jose.CertifiedKey { return []jose.CertifiedKey{signingKey(), signingKey()} })

func signingKey() jose.CertifiedKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now().Add(-time.Hour), NotAfter: now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return jose.CertifiedKey{Cert: cert, Key: key}
}

// service is the door of a simulation or of a deployment that is none, over the real
// verifiers.
type service struct {
	t      testing.TB
	routes map[string]*route.Route
	seed   [32]byte
}

func newService(t testing.TB, simulation bool, change ...func(*attestation.Config)) *service {
	t.Helper()
	s := &service{t: t, routes: map[string]*route.Route{}, seed: [32]byte{1}}
	trust := all.Config{}
	if simulation {
		trust.Seed = &s.seed
	}
	v, err := all.New(trust)
	if err != nil {
		t.Fatal(err)
	}
	c := attestation.Config{Deployment: "d1", Simulation: simulation, Verifier: v, Guests: v, Keys: signingKeys(), Now: now}
	for _, f := range change {
		f(&c)
	}
	made, err := attestation.New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range attestation.Routes(made) {
		s.routes[r.Method+" "+r.Path] = r
	}
	return s
}

func (s *service) call(method, path string, body []byte) (any, error) {
	r := s.routes[method+" "+path]
	if r == nil {
		s.t.Fatalf("no route %s %s", method, path)
	}
	return r.Do(context.Background(), &route.Call{Host: host, Body: body})
}

// attest posts a body and gives the token.
func (s *service) attest(path string, body map[string]any) (string, error) {
	s.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := s.call(http.MethodPost, "/attest/"+path, b)
	if err != nil {
		return "", err
	}
	return out.(attestation.Token).Token, nil
}

// jwks is what /certs answers.
func (s *service) jwks() []byte {
	s.t.Helper()
	out, err := s.call(http.MethodGet, "/certs", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := json.Marshal(out)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// claims takes a token's payload, numbers as they stand.
func claims(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("token %q", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(payload)))
	d.UseNumber()
	var out map[string]any
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *service) refused(name string, err error, want release.Reason) {
	s.t.Helper()
	if err == nil || release.ReasonOf(err) != want {
		s.t.Errorf("%s: %v, want %s", name, err, want)
	}
}

func b64u(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func runtimeJSON(s string) map[string]any {
	return map[string]any{"data": b64u([]byte(s)), "dataType": "JSON"}
}

// keys is runtime data as Azure's clients send it.
const keys = `{"keys":[{"kty":"RSA","kid":"k","key_ops":["encrypt"],"n":"AQ","e":"AQAB"}],"n":12345678901234567890}`

// chip makes a request of simulated SNP hardware over runtime data.
func (s *service) chip(runtimeData string, c snpsim.Chip) map[string]any {
	s.t.Helper()
	p, err := snpsim.New(s.seed)
	if err != nil {
		s.t.Fatal(err)
	}
	report, err := p.Report(digest(runtimeData), c)
	if err != nil {
		s.t.Fatal(err)
	}
	leaf, err := p.Leaf(c)
	if err != nil {
		s.t.Fatal(err)
	}
	return map[string]any{"report": snpReport(report, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))}
}

func snpReport(report, chain []byte) string {
	doc, _ := json.Marshal(map[string]any{"SnpReport": b64u(report), "VcekCertChain": b64u(chain), "Endorsements": b64u([]byte(`{"Uvm":[]}`))})
	return b64u(doc)
}

func digest(runtimeData string) (out [64]byte) {
	if runtimeData != "" {
		sum := sha256.Sum256([]byte(runtimeData))
		copy(out[:], sum[:])
	}
	return out
}

// domain makes a request of a simulated TD.
func (s *service) domain(runtimeData string, change func(*tdxsim.Platform)) map[string]any {
	s.t.Helper()
	p, err := tdxsim.New(s.seed)
	if err != nil {
		s.t.Fatal(err)
	}
	if change != nil {
		change(p)
	}
	quote, err := p.Quote(digest(runtimeData))
	if err != nil {
		s.t.Fatal(err)
	}
	return map[string]any{"quote": base64.StdEncoding.EncodeToString(quote)}
}

// with adds members to a request.
func with(body map[string]any, more map[string]any) map[string]any {
	for name, v := range more {
		body[name] = v
	}
	return body
}

// vector reads real evidence, and skips without it.
func vector(t testing.TB, name string) []byte {
	t.Helper()
	dir := os.Getenv("OPENSKR_VECTORS")
	if dir == "" {
		t.Skip("OPENSKR_VECTORS is not set")
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
