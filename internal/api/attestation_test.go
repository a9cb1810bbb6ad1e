package api

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/internal/api/attestation"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

// fakeVerifier refuses everything, each type for its own reason.
type fakeVerifier struct{}

func (fakeVerifier) Verify(_ context.Context, ev attest.Evidence, _ attest.Expect) (*attest.Result, error) {
	switch ev.Type {
	case attest.TypeSNP:
		rej := attest.Reject(attest.CheckPlatformDenied, "this chip is on the deny list")
		rej.Identity = &attest.Identity{Kind: "snp", ID: "snp-1"}
		return nil, rej
	case attest.TypeTDX:
		return nil, attest.Reject(attest.CheckCollateralUnavailable, "Intel does not answer")
	}
	return nil, attest.Reject(attest.CheckTypeUnsupported, "no verifier")
}

func (fakeVerifier) Guest(context.Context, *format.Guest, []attest.Endorsement, attest.Expect) (*attest.Result, *rsa.PublicKey, error) {
	return nil, nil, attest.Reject(attest.CheckNotLinked, "another machine")
}

func (h *harness) attestation() *attestation.Service {
	h.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	h.must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: h.now.Add(-time.Hour), NotAfter: h.now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	h.must(err)
	cert, err := x509.ParseCertificate(der)
	h.must(err)
	s, err := attestation.New(attestation.Config{
		Deployment: testDeployment, Verifier: fakeVerifier{}, Guests: fakeVerifier{}, Keys: []jose.CertifiedKey{{Cert: cert, Key: key}}, Now: func() time.Time { return h.now },
	})
	h.must(err)
	return s
}

// Evidence refused is 400, which Azure's clients take as final; what is no verdict is
// 503, which they try again. Neither makes a record: whoever sent it proved nothing,
// since evidence without a nonce of ours may be anybody's.
func TestAttestRefuses(t *testing.T) {
	h := newHarness(t)
	post := func(path, body string) *response {
		t.Helper()
		w := h.do(request{method: http.MethodPost, path: path, body: body})
		var e struct {
			Error struct {
				Code, Message string
				Inner         struct{ Code string } `json:"innererror"`
			}
		}
		if json.Unmarshal(w.Body.Bytes(), &e) != nil || e.Error.Code == "" || strings.Contains(w.Body.String(), "deny list") {
			t.Errorf("%s: %s", path, w.Body)
		}
		return &response{status: w.Code, ResponseWriter: w}
	}
	for _, c := range []struct {
		path, body string
		status     int
		reason     release.Reason
	}{
		{"/attest/SevSnpVm?api-version=2022-08-01", `{"report":"e30="}`, 400, release.Reason(attest.CheckPlatformDenied)},
		{"/attest/TdxVm?api-version=2025-06-01", `{"quote":"AA"}`, 503, release.Reason(attest.CheckCollateralUnavailable)},
		{"/attest/SgxEnclave?api-version=2020-10-01", `{"quote":"AA"}`, 400, release.Reason(attest.CheckTypeUnsupported)},
		{"/attest/SevSnpVm", `{"report":"e30="}`, 400, release.ReasonBadRequest},
	} {
		before := h.store.Counted[c.reason]
		if w := post(c.path, c.body); w.status != c.status {
			t.Errorf("%s: %d, want %d", c.path, w.status, c.status)
		}
		if c.status == 400 && h.store.Counted[c.reason] != before+1 {
			t.Errorf("%s: not counted as %s", c.path, c.reason)
		}
	}
	if len(h.store.Leaves) != 0 {
		t.Errorf("%d records of strangers", len(h.store.Leaves))
	}
}

// Discovery and keys answer with and without an api-version, from the host asked.
func TestAttestationDocuments(t *testing.T) {
	h := newHarness(t)
	for _, query := range []string{"", "?api-version=2020-10-01"} {
		w := h.do(request{method: http.MethodGet, path: "/.well-known/openid-configuration" + query})
		var d attestation.Discovery
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || d.Issuer != "https://"+testHost || d.JWKS != "https://"+testHost+"/certs" {
			t.Errorf("%s, %v", w.Body, err)
		}
		w = h.do(request{method: http.MethodGet, path: "/certs" + query})
		if _, err := jose.ParseKeySet(w.Body.Bytes()); err != nil {
			t.Errorf("%s, %v", w.Body, err)
		}
	}
}

// One source asks no more than its rate, before any body is read.
func TestAttestIsLimited(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Rate = Rate{PerSecond: 1e-9, Burst: 2} })
	r := request{method: http.MethodPost, path: "/attest/SgxEnclave?api-version=2020-10-01", body: `{"quote":"AA"}`}
	if w := h.do(r); w.Code != http.StatusBadRequest {
		t.Fatalf("%d", w.Code)
	}
	r.contentType = "text/xml"
	h.want("second", h.do(r), http.StatusTooManyRequests, release.ReasonThrottled)
}
