package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

func TestSource(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.77:1": "192.0.2.0/24", "[2001:db8:1:2::9]:1": "2001:db8:1::/48", "[::ffff:192.0.2.77]:1": "192.0.2.0/24",
		"[fe80::1%eth0]:1": "fe80::/48", "": "unknown", "@": "unknown", "name:1": "unknown",
	} {
		if got := prefix(client(in, nil, nil)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// slow is a limit that a test uses up at once.
func slow(c *Config) { c.Rate = Rate{PerSecond: 1, Burst: 3} }

// TestRateLimit is DS-04 and DS-06: a source is its socket, whatever it claims.
func TestRateLimit(t *testing.T) {
	h := newHarness(t, slow)
	challenge := func(remote, forwarded string) int {
		req := httptest.NewRequest(http.MethodPost, "https://"+testHost+"/v1/challenge", strings.NewReader(`{"purpose":"release","key":"https://`+testHost+`/keys/k"}`))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Forwarded-For", forwarded)
		req.Header.Set("X-Real-Ip", forwarded)
		req.RemoteAddr = remote
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, req)
		if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
		return w.Code
	}
	for i := range 3 {
		if c := challenge("192.0.2.1:1", "10.0.0.1"); c != http.StatusOK {
			t.Fatalf("request %d: %d", i, c)
		}
	}
	for _, forwarded := range []string{"10.0.0.2", "10.0.0.3"} {
		if c := challenge("192.0.2.99:1", forwarded); c != http.StatusTooManyRequests {
			t.Errorf("over the limit: %d", c)
		}
	}
	if c := challenge("198.51.100.1:1", "10.0.0.1"); c != http.StatusOK {
		t.Errorf("another source: %d", c)
	}
	h.now = h.now.Add(time.Second)
	if c := challenge("192.0.2.1:1", ""); c != http.StatusOK {
		t.Errorf("a second later: %d", c)
	}
	if len(h.store.Leaves) != 0 || h.store.Counted[release.ReasonThrottled] != 2 {
		t.Errorf("%d records, %v", len(h.store.Leaves), h.store.Counted)
	}
}

// A source that guesses tokens is stopped before the next signature is checked;
// one that has a good token spends nothing.
func TestGuessing(t *testing.T) {
	h := newHarness(t, slow)
	tok := h.token(identity.RoleReader)
	for range 10 {
		h.ok("good token", h.do(request{method: http.MethodGet, path: "/keys?api-version=7.4", token: tok}), nil)
	}
	for range 3 {
		h.want("bad token", h.do(request{method: http.MethodGet, path: "/keys", token: "a.b.c"}), http.StatusUnauthorized, release.ReasonUnauthorized)
	}
	h.want("spent", h.do(request{method: http.MethodGet, path: "/keys", token: "a.b.c"}), http.StatusTooManyRequests, release.ReasonThrottled)
}

// TestTable is DS-07: the table does not grow.
func TestTable(t *testing.T) {
	l := newLimiter(Rate{PerSecond: 1, Burst: 1})
	now := time.Unix(1, 0)
	for i := range 100_000 {
		l.take(string(rune('a'+i%26))+strings.Repeat("x", i%50)+time.Duration(i).String(), 1, now)
	}
	if len(l.table) != buckets {
		t.Error("the table grew")
	}
}
