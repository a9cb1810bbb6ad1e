package api

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/openskr/openskr/release"
)

func proxies() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48")}
}

// TestForwardedFor: who is no trusted proxy is who it is, whatever it says; of what a
// trusted proxy hands on, only what it and its like wrote down counts.
func TestForwardedFor(t *testing.T) {
	const direct, behind = "198.51.100.7:999", "10.0.0.5:999"
	for name, c := range map[string]struct {
		remote    string
		forwarded []string
		want      string
	}{
		"no header":                    {behind, nil, "10.0.0.0/24"},
		"a client that says it":        {direct, []string{"203.0.113.9"}, "198.51.100.0/24"},
		"a client that names a proxy":  {direct, []string{"10.0.0.1"}, "198.51.100.0/24"},
		"one hop":                      {behind, []string{"203.0.113.9"}, "203.0.113.0/24"},
		"with a port":                  {behind, []string{"203.0.113.9:4711"}, "203.0.113.0/24"},
		"IPv6":                         {behind, []string{"2001:db8:1:2::9"}, "2001:db8:1::/48"},
		"IPv6 with a port":             {behind, []string{"[2001:db8:1:2::9]:4711"}, "2001:db8:1::/48"},
		"IPv4 in IPv6":                 {"[::ffff:10.0.0.5]:1", []string{"::ffff:203.0.113.9"}, "203.0.113.0/24"},
		"IPv6 proxy":                   {"[2001:db8:ffff::1]:1", []string{"203.0.113.9"}, "203.0.113.0/24"},
		"spoofed before it":            {behind, []string{"192.0.2.1, 203.0.113.9"}, "203.0.113.0/24"},
		"spoofed trusted before it":    {behind, []string{"10.1.1.1, 203.0.113.9"}, "203.0.113.0/24"},
		"spoofed in a line of its own": {behind, []string{"192.0.2.1", "203.0.113.9"}, "203.0.113.0/24"},
		"two proxies":                  {behind, []string{"192.0.2.1,203.0.113.9, 10.9.9.9"}, "203.0.113.0/24"},
		"two proxies, two lines":       {behind, []string{"192.0.2.1, 203.0.113.9", "10.9.9.9"}, "203.0.113.0/24"},
		"garbage at the end":           {behind, []string{"203.0.113.9, unknown"}, "10.0.0.0/24"},
		"garbage behind a proxy":       {behind, []string{"203.0.113.9, _x, 10.9.9.9"}, "10.9.9.0/24"},
		"empty hop":                    {behind, []string{"203.0.113.9,"}, "10.0.0.0/24"},
		"empty":                        {behind, []string{""}, "10.0.0.0/24"},
		"only proxies":                 {behind, []string{"10.1.1.1, 10.2.2.2"}, "10.1.1.0/24"},
		"a name":                       {behind, []string{"client.example"}, "10.0.0.0/24"},
		"no socket":                    {"", []string{"203.0.113.9"}, "unknown"},
	} {
		if got := prefix(client(c.remote, c.forwarded, proxies())); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestTrustedProxies has the limit of strangers count by what a trusted proxy says, and
// by nothing that anybody else does, whatever the header.
func TestTrustedProxies(t *testing.T) {
	h := newHarness(t, slow, func(c *Config) { c.TrustedProxies = proxies() })
	ask := func(remote string, headers map[string]string) int {
		req := httptest.NewRequest(http.MethodGet, "https://"+testHost+"/.well-known/openskr", nil)
		req.RemoteAddr = remote
		for k, v := range headers {
			req.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, req)
		return w.Code
	}
	for _, client := range []string{"203.0.113.1", "198.18.0.1"} { // each has its own rate
		for i := range 3 {
			if c := ask("10.0.0.5:1", map[string]string{"X-Forwarded-For": client}); c != http.StatusOK {
				t.Errorf("%s, request %d: %d", client, i, c)
			}
		}
		for _, spoof := range []map[string]string{
			{"X-Forwarded-For": client},
			{"X-Forwarded-For": "192.0.2.77, " + client},
			{"X-Forwarded-For": client, "Forwarded": "for=192.0.2.77", "X-Real-Ip": "192.0.2.77", "True-Client-Ip": "192.0.2.77"},
		} {
			if c := ask("10.0.0.5:1", spoof); c != http.StatusTooManyRequests {
				t.Errorf("%v: %d", spoof, c)
			}
		}
	}
	if c := ask("203.0.113.1:1", map[string]string{"X-Forwarded-For": "10.0.0.1"}); c != http.StatusTooManyRequests {
		t.Errorf("the same client, without the proxy: %d", c)
	}
	if len(h.store.Leaves) != 0 || h.store.Counted[release.ReasonThrottled] == 0 {
		t.Errorf("%d records, %v", len(h.store.Leaves), h.store.Counted)
	}
}
