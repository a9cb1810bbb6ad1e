package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apikeyvault "github.com/openskr/openskr/internal/api/keyvault"
	"github.com/openskr/openskr/internal/bench"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// call is one prepared request of the Key Vault door.
type doorCall struct {
	method, path string
	body         []byte
	took         time.Duration
}

// doorLoad sends calls from clients at once, with the bearer token.
func (r *rig) doorLoad(bearer string, clients int, calls []*doorCall) measured {
	r.tb.Helper()
	ctx := r.tb.Context()
	before, start := r.cpu(), time.Now()
	r.parallel(clients, len(calls), func(i int) error {
		c, t := calls[i], time.Now()
		_, err := doorSend(ctx, r.client, r.url, bearer, c)
		c.took = time.Since(t)
		return err
	})
	took, used := time.Since(start), r.cpu()-before
	var ms []float64
	for _, c := range calls {
		ms = append(ms, float64(c.took.Microseconds())/1000)
	}
	slices.Sort(ms)
	n := len(calls)
	return measured{float64(n) / took.Seconds(), ms[n/2], ms[n*99/100], float64(used.Microseconds()) / float64(n)}
}

func doorSend(ctx context.Context, client *http.Client, url, bearer string, c *doorCall) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, c.method, url+c.path, bytes.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	if c.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %d %s", c.method, c.path, resp.StatusCode, b)
	}
	return b, err
}

// reportKeyVault measures the Key Vault door at 64 clients over HTTPS.
func reportKeyVault(b *testing.T) {
	fmt.Printf("\nKey Vault door over HTTPS, 64 clients\n")
	fmt.Printf("%-44s %8s %10s %9s %12s %8s\n", "", "M us", "req/s", "p99 ms", "CPU us/req", "x M")
	var token measured
	for _, alg := range []string{apikeyvault.RS256, apikeyvault.ES256} {
		members := bench.KeyVault(alg == apikeyvault.RS256)
		before := sum(members)
		d := newDoorRig(b, alg)
		d.start(servedBroker{})
		bearer := d.adminToken(b)
		d.doorLoad(bearer, 16, d.releases(200))
		token = d.doorLoad(bearer, 64, d.releases(3000))
		m := (before + sum(members)) / 2
		fmt.Printf("%-44s %8.0f %10.0f %9.2f %12.0f %8.2f\n", "release on a token of 60 claims, "+alg, m, token.rate, token.p99, token.cpu, token.cpu/m)
		if alg == apikeyvault.RS256 {
			d.end()
			continue
		}
		d.rest(b, bearer, token)
		d.end()
	}
	reportPages(b)
}

// rest measures what needs no evidence, against the release of the same run and against
// a handler that does nothing.
func (d *doorRig) rest(b *testing.T, bearer string, token measured) {
	line := func(name string, n int, c doorCall) measured {
		calls := make([]*doorCall, n)
		for i := range calls {
			one := c
			calls[i] = &one
		}
		d.doorLoad(bearer, 16, calls[:min(200, n)])
		l := d.doorLoad(bearer, 64, calls)
		fmt.Printf("%-44s %8s %10.0f %9.2f %12.0f\n", name, "", l.rate, l.p99, l.cpu)
		return l
	}
	secret := line("secret value, recorded first", 4000, doorCall{method: http.MethodGet, path: "/secrets/s?api-version=7.4"})
	get := line("key metadata", 6000, doorCall{method: http.MethodGet, path: "/keys/bench?api-version=7.4"})
	list := line("list of 25 keys", 3000, doorCall{method: http.MethodGet, path: "/keys?api-version=7.4"})
	d.end()
	d.start(servedBroker{Empty: true}) // the same way there and back
	base := line("a handler that answers 600 bytes", 12000, doorCall{method: http.MethodGet, path: "/"})
	fmt.Printf("secret against token release: %.2f x the rate (goal 0.8)\n", secret.rate/token.rate)
	fmt.Printf("metadata against the empty handler: %.2f x; list of 25: %.2f x (goal 0.3)\n", get.rate/base.rate, list.rate/base.rate)
}

// reportPages lists 100 000 keys page by page.
func reportPages(b *testing.T) {
	const keys = 100_000
	d := newDoorRig(b, apikeyvault.ES256)
	d.withBroker(func(ctx context.Context, br *broker) {
		var wg sync.WaitGroup
		for w := range 64 {
			wg.Go(func() {
				for i := w; i < keys; i += 64 {
					if _, err := br.keys.Create(ctx, keyvault.DefaultVault, fmt.Sprintf("k%06d", i), keyvault.CreateKey{Kty: keyvault.KtyOct}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
	d.start(servedBroker{})
	defer d.end()
	bearer, next := d.adminToken(b), "/keys?api-version=7.4"
	var pages []float64
	for next != "" {
		start := time.Now()
		raw, err := doorSend(b.Context(), d.client, d.url, bearer, &doorCall{method: http.MethodGet, path: next})
		if err != nil {
			b.Fatal(err)
		}
		pages = append(pages, float64(time.Since(start).Microseconds()))
		var page struct{ NextLink *string }
		if err := json.Unmarshal(raw, &page); err != nil {
			b.Fatal(err)
		}
		if next = ""; page.NextLink != nil {
			next = strings.TrimPrefix(*page.NextLink, d.url)
		}
	}
	median := func(us []float64) float64 { s := slices.Sorted(slices.Values(us)); return s[len(s)/2] }
	tenth := len(pages) / 10
	fmt.Printf("%d keys in %d pages of 25: first tenth %.0f us a page, last tenth %.0f us\n",
		keys, len(pages), median(pages[:tenth]), median(pages[len(pages)-tenth:]))
}

// doorRig is a deployment that trusts an issuer of its own, with a key for its tokens.
type doorRig struct {
	*rig
	issuer, target *rsa.PrivateKey
}

func newDoorRig(tb testing.TB, alg string) *doorRig {
	tb.Helper()
	r := tokenRig(tb)
	d := &doorRig{rig: r.rig, issuer: r.issuer}
	var err error
	if d.target, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		tb.Fatal(err)
	}
	cfg, err := loadConfig(d.dir, "")
	if err != nil {
		tb.Fatal(err)
	}
	cfg.ReleaseSignature = alg
	if err := cfg.write(d.dir, "test"); err != nil {
		tb.Fatal(err)
	}
	yes := true
	policy := fmt.Sprintf(`{"version":"1.0.0","anyOf":[{"authority":"https://bench.example","allOf":[{"claim":"x-ms-attestation-type","equals":"sevsnpvm"},
		{"claim":"x-ms-sevsnpvm-launchmeasurement","equals":%q},{"claim":"x-ms-sevsnpvm-vmpl","equals":"0"}]}]}`, strings.Repeat("ab", 48))
	d.withBroker(func(ctx context.Context, b *broker) {
		k := keyvault.CreateKey{Kty: keyvault.KtyRSA, Size: 2048, Exportable: &yes}
		k.Policy = &release.ReleasePolicy{ContentType: release.ContentTypeJSON, Data: []byte(policy)}
		for i := range 30 {
			name := "bench"
			if i > 0 {
				name, k = fmt.Sprintf("bench-%02d", i), keyvault.CreateKey{Kty: keyvault.KtyEC}
			}
			if _, err := b.keys.Create(ctx, keyvault.DefaultVault, name, k); err != nil {
				tb.Fatal(err)
			}
		}
		if _, err := b.keys.SetSecret(ctx, keyvault.DefaultVault, "s", bytes.Repeat([]byte("s"), 1200), keyvault.SecretSettings{}); err != nil {
			tb.Fatal(err)
		}
	})
	return d
}

// releases are n releases of the key, each on a token of its own.
func (d *doorRig) releases(n int) []*doorCall {
	runtime := fmt.Sprintf(`{"keys":[{"kty":"RSA","kid":"t","key_ops":["encrypt"],"e":"AQAB","n":%q}]}`, base64.RawURLEncoding.EncodeToString(d.target.N.Bytes()))
	out := make([]*doorCall, n)
	d.parallel(16, n, func(i int) error {
		claims := azureClaims([]byte(runtime))
		var id [32]byte
		rand.Read(id[:])
		claims["jti"] = fmt.Sprintf("%x", sha256.Sum256(id[:]))
		for j := len(claims); j < 60; j++ { // that no verifier knows
			claims[fmt.Sprintf("x-ms-of-tomorrow-%02d", j)] = strings.Repeat("ab", 24)
		}
		token, err := signRS256(d.issuer, claims)
		if err != nil {
			return err
		}
		body, err := json.Marshal(map[string]string{"target": token, "enc": "RSA_AES_KEY_WRAP_256"})
		out[i] = &doorCall{method: http.MethodPost, path: "/keys/bench/release?api-version=7.4", body: body}
		return err
	})
	return out
}

// TestDoorPaths: what is measured is a release, a secret and a list.
func TestDoorPaths(t *testing.T) {
	d := newDoorRig(t, apikeyvault.ES256)
	d.start(servedBroker{})
	defer d.end()
	bearer := d.adminToken(t)
	for _, c := range append(d.releases(2), &doorCall{method: http.MethodGet, path: "/secrets/s?api-version=7.4"}, &doorCall{method: http.MethodGet, path: "/keys?api-version=7.4"}) {
		if b, err := doorSend(t.Context(), d.client, d.url, bearer, c); err != nil || len(b) < 300 {
			t.Errorf("%s, %v", b, err)
		}
	}
}
