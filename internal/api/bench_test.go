package api

import (
	"net/http"
	"testing"

	"github.com/openskr/openskr/internal/identity"
)

// BenchmarkFunnel is what a request costs besides its handler: routing, limits,
// strict decoding, headers, metrics.
func BenchmarkFunnel(b *testing.B) {
	h := newHarness(b)
	b.Run("challenge", func(b *testing.B) {
		for b.Loop() {
			h.do(request{method: http.MethodPost, path: "/v1/challenge", body: challengeBody})
		}
	})
	tok := h.token(identity.RoleReader)
	b.Run("token", func(b *testing.B) {
		for b.Loop() {
			h.do(request{method: http.MethodGet, path: "/keys?api-version=7.4", token: tok})
		}
	})
}
