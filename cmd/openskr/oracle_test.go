package main

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// BenchmarkOracle is RB-12 by the clock, on a whole broker with its store on a disk: how
// long it takes to refuse a caller without any right a key that is there, and one that is
// not. KS-p is how probable a difference like that between 2 000 answers each is when there
// is none (two-sample Kolmogorov-Smirnov); below 0.01 time and again, it is an oracle. By
// hand, on a machine that does nothing else:
//
//	go test ./cmd/openskr -run '^$' -bench Oracle -benchtime 1x -count 5
//
// What runs with every change is TestNoOracle of internal/api: the same reads for both.
func BenchmarkOracle(b *testing.B) {
	r := bareRig(b, initFlags{})
	r.withBroker(func(ctx context.Context, br *broker) {
		r.makeKey(ctx, br, "there", keyvault.CreateKey{Kty: "EC", Crv: "P-256"}, []byte("package release\n\ndefault allow := false\n"))
		token := r.powerless(ctx, br)
		took := map[string][]float64{}
		for range b.N {
			for i := range 4200 {
				name := [2]string{"there", "never"}[i&1]
				req := httptest.NewRequestWithContext(ctx, http.MethodGet, r.url+"/keys/"+name+"?api-version=7.6", http.NoBody)
				req.Header.Set("Authorization", "Bearer "+token)
				w := httptest.NewRecorder()
				start := time.Now()
				br.handler.ServeHTTP(w, req)
				if i >= 200 { // those before filled caches
					took[name] = append(took[name], float64(time.Since(start)))
				}
				if w.Code != http.StatusForbidden {
					b.Fatal(w.Code, w.Body)
				}
			}
		}
		b.ReportMetric(sameDistribution(took["there"], took["never"]), "KS-p")
	})
}

// powerless is the token of a principal without a role.
func (r *rig) powerless(ctx context.Context, b *broker) string {
	r.tb.Helper()
	p, secret, err := identity.NewPrincipal("nobody", time.Now())
	if err != nil {
		r.tb.Fatal(err)
	}
	value, err := p.Encode()
	if err != nil {
		r.tb.Fatal(err)
	}
	if _, err := b.log.Objects().ChangeObject(ctx, b.records(ctx, "test"), release.ObjectPrincipal, p.ID, func(*release.Object) ([]byte, error) { return value, nil }); err != nil {
		r.tb.Fatal(err)
	}
	tok, err := b.ids.Token(ctx, &identity.TokenRequest{GrantType: "client_credentials", ClientID: p.ID, ClientSecret: secret})
	if err != nil {
		r.tb.Fatal(err)
	}
	return tok.Access
}

// sameDistribution is the p-value of the two-sample Kolmogorov-Smirnov test, by its
// asymptotic distribution.
func sameDistribution(a, b []float64) float64 {
	slices.Sort(a)
	slices.Sort(b)
	var d float64
	for i, j := 0, 0; i < len(a) && j < len(b); {
		v := min(a[i], b[j])
		for i < len(a) && a[i] == v {
			i++
		}
		for j < len(b) && b[j] == v {
			j++
		}
		d = max(d, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	n := float64(len(a)) * float64(len(b)) / float64(len(a)+len(b))
	lambda := (math.Sqrt(n) + 0.12 + 0.11/math.Sqrt(n)) * d
	if lambda < 0.2 { // where the series does not converge
		return 1
	}
	p, sign := 0.0, 2.0
	for k := 1.0; k <= 100; k++ {
		p += sign * math.Exp(-2*k*k*lambda*lambda)
		sign = -sign
	}
	return min(max(p, 0), 1)
}

// A statistic that cannot tell says nothing when it does not.
func TestSameDistribution(t *testing.T) {
	var a, b, c []float64
	for i := range 2000 {
		a, b, c = append(a, float64(i%100)), append(b, float64((i*7)%100)), append(c, float64(i%100)+10)
	}
	if p := sameDistribution(a, b); p < 0.99 {
		t.Errorf("one distribution: p = %g", p)
	}
	if p := sameDistribution(a, c); p > 1e-6 {
		t.Errorf("another: p = %g", p)
	}
}
