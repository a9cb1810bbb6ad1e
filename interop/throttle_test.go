package interop

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/openskr/openskr/interop/compat"
	"github.com/openskr/openskr/interop/harness"
)

// enough is more requests than a principal has at once with this throttle (40), and than
// it gets while it asks.
const (
	hundredth = "throttle: 0.01"
	enough    = 200
)

// slow is a broker with a small throttle, the way to it, and a key in its vault.
type slow struct {
	*harness.Broker
	proxy *harness.Proxy
	key   string
}

// TestThrottled: clients as they are published meet 429, wait for Retry-After, and succeed
// without their caller's noticing; the broker counts each.
func TestThrottled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, err := harness.Start(t.Context(), suite.program, dir, hundredth)
	if err != nil {
		t.Fatal(err)
	}
	p, err := harness.StartProxy(b.Port)
	if err != nil {
		t.Fatal(errors.Join(err, b.Stop()))
	}
	t.Cleanup(func() {
		if err := errors.Join(b.Stop(), p.Stop()); err != nil {
			t.Error(err)
		}
	})
	s := &slow{b, p, fresh("slow")}
	seen := &refusals{}
	operation(t, compat.Go, "request beyond the rate", func(t *testing.T) {
		c := s.client(t, seen)
		create(t, c, s.key, azkeys.CreateKeyParameters{Kty: ptr(azkeys.KeyTypeEC)})
		for range enough {
			if _, err := c.GetKey(t.Context(), s.key, "", nil); err != nil {
				t.Fatal(err)
			}
			if seen.throttled > 0 {
				break
			}
		}
		if seen.throttled == 0 || seen.retryAfter != "1" {
			t.Errorf("%d refused, Retry-After %q", seen.throttled, seen.retryAfter)
		}
	})
	text, err := b.Metrics(t.Context())
	want := fmt.Sprintf("openskr_refusals_total{reason=\"throttled\",route=\"keys/get\"} %d\n", seen.throttled)
	if err != nil || !strings.Contains(text, want) {
		t.Errorf("no %q: %v", want, err)
	}
	s.run(t, node(t), "--test", "js/throttled.mjs")
	s.run(t, filepath.Join(install(t, "python"), "bin/python"), "-B", "-m", "unittest", "discover", "--start-directory", "python", "--pattern", "throttled.py")
}

// refusals counts answers of 429 as they come, before anybody tries again.
type refusals struct {
	throttled  int
	retryAfter string
}

func (r *refusals) Do(req *policy.Request) (*http.Response, error) {
	resp, err := req.Next()
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		r.throttled++
		r.retryAfter = resp.Header.Get("Retry-After")
	}
	return resp, err
}

// client is Azure's for Go, which asks this broker.
func (s *slow) client(t *testing.T, seen *refusals) *azkeys.Client {
	t.Helper()
	pem, err := os.ReadFile(s.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	by, err := url.Parse(s.proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{Proxy: http.ProxyURL(by), TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	t.Cleanup(tr.CloseIdleConnections)
	return keysClientAt(t, s.Vault, issuedBy{s.Broker}, &azkeys.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: tr}, PerRetryPolicies: []policy.Policy{seen},
	}})
}

// issuedBy is a credential with the tokens of a broker's administrator.
type issuedBy struct{ b *harness.Broker }

func (c issuedBy) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, expires, err := c.b.Token(ctx, c.b.Admin, strings.TrimSuffix(o.Scopes[0], "/.default"))
	return azcore.AccessToken{Token: token, ExpiresOn: time.Unix(expires, 0)}, err
}

// run runs a client of another language against this broker.
func (s *slow) run(t *testing.T, name string, args ...string) {
	t.Helper()
	identity, err := s.StartIdentityEndpoint()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), name, args...)
	c.Env = append(append(suite.outside, s.Environ(s.proxy)...), identity.Environ...)
	c.Env = append(c.Env, "OPENSKR_VAULT="+s.Vault, "OPENSKR_AUTHORITY="+s.Authority, "OPENSKR_TENANT="+s.Tenant, "OPENSKR_CLIENT_ID="+s.Admin.ID,
		"OPENSKR_CLIENT_SECRET="+s.Admin.Secret, "OPENSKR_NOTES="+suite.notes, "OPENSKR_KEY="+s.key)
	out, err := c.CombinedOutput()
	if err := errors.Join(err, identity.Stop()); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
