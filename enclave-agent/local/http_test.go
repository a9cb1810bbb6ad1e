package local

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/openskr/openskr/enclave-agent/agenttest"
)

const onTCP = `{"v":1,"tcp":{"address":"127.0.0.1:0"},"callers":[{"name":"old","token_file":"%DIR%/token","keys":["` + agenttest.KeyURL + `"]}]}`

// tcpRequest is a good one for the loopback.
func (s *served) tcpRequest(t *testing.T) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.tcp.Addr().String()+"/key/release", strings.NewReader(keyBody))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+testToken)
	return r
}

func do(t *testing.T, r *http.Request) int {
	t.Helper()
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("a page may read the answer")
	}
	return resp.StatusCode
}

// AG-03: there is no port unless it is asked for, and then it is the loopback's.
func TestTCP(t *testing.T) {
	if s := serve(t, &fake{}, onSocket(me(mayKey))); s.tcp != nil {
		t.Error("a port that nobody asked for")
	}
	f := &fake{kty: "oct", key: []byte("0123456789abcdef")}
	s := serve(t, f, onTCP)
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   int
	}{
		"bearer":    {func(*http.Request) {}, http.StatusOK},
		"lowercase": {func(r *http.Request) { r.Header.Set("Authorization", "bearer "+testToken) }, http.StatusOK},
		"password":  {func(r *http.Request) { r.SetBasicAuth("old", testToken) }, http.StatusOK},
		"localhost": {func(r *http.Request) { _, p, _ := strings.Cut(r.Host, ":"); r.Host = "localhost:" + p }, http.StatusOK},
		"no token":  {func(r *http.Request) { r.Header.Del("Authorization") }, http.StatusUnauthorized},
		"wrong":     {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+testToken+"x") }, http.StatusUnauthorized},
		"empty":     {func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }, http.StatusUnauthorized},
		"bare":      {func(r *http.Request) { r.Header.Set("Authorization", testToken) }, http.StatusUnauthorized},
		"as a name": {func(r *http.Request) { r.SetBasicAuth(testToken, "") }, http.StatusUnauthorized},
		"two":       {func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+testToken) }, http.StatusUnauthorized},
		// DNS rebinding: a page's own name leads to the loopback.
		"rebound":             {func(r *http.Request) { _, p, _ := strings.Cut(r.Host, ":"); r.Host = "evil.example:" + p }, http.StatusForbidden},
		"rebound, like ours":  {func(r *http.Request) { _, p, _ := strings.Cut(r.Host, ":"); r.Host = "localhost.evil.example:" + p }, http.StatusForbidden},
		"no port":             {func(r *http.Request) { r.Host = "127.0.0.1" }, http.StatusForbidden},
		"another port":        {func(r *http.Request) { r.Host = "127.0.0.1:1" }, http.StatusForbidden},
		"another of loopback": {func(r *http.Request) { _, p, _ := strings.Cut(r.Host, ":"); r.Host = "127.0.0.2:" + p }, http.StatusForbidden},
		"every address":       {func(r *http.Request) { _, p, _ := strings.Cut(r.Host, ":"); r.Host = "0.0.0.0:" + p }, http.StatusForbidden},
		"from a page":         {func(r *http.Request) { r.Header.Set("Origin", "http://"+r.Host) }, http.StatusForbidden},
		"null origin":         {func(r *http.Request) { r.Header.Set("Origin", "null") }, http.StatusForbidden},
		"from a browser":      {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") }, http.StatusForbidden},
		"by a proxy":          {func(r *http.Request) { r.Header.Set("X-Forwarded-For", "127.0.0.1") }, http.StatusForbidden},
		"preflight":           {func(r *http.Request) { r.Method = http.MethodOptions }, http.StatusMethodNotAllowed},
		"preflight of a page": {func(r *http.Request) { r.Method = http.MethodOptions; r.Header.Set("Origin", "http://a") }, http.StatusForbidden},
		"GET":                 {func(r *http.Request) { r.Method = http.MethodGet }, http.StatusMethodNotAllowed},
		"status":              {func(r *http.Request) { r.Method, r.URL.Path = http.MethodGet, "/status"; r.Header.Del("Authorization") }, http.StatusOK},
		"status, rebound":     {func(r *http.Request) { r.Method, r.URL.Path, r.Host = http.MethodGet, "/status", "evil.example" }, http.StatusForbidden},
		"status, wrong token": {func(r *http.Request) { r.Method, r.URL.Path = http.MethodGet, "/status"; r.SetBasicAuth("a", "b") }, http.StatusUnauthorized},
	} {
		r := s.tcpRequest(t)
		c.change(r)
		if r.Method == http.MethodGet {
			r.Body, r.ContentLength = nil, 0
		}
		if got := do(t, r); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if got := len(f.calls()); got != 4 {
		t.Errorf("the agent was asked %d times, want 4", got)
	}
	log := s.log.String()
	if strings.Contains(log, testToken) || strings.Contains(log, base64.StdEncoding.EncodeToString([]byte("old:"+testToken))) {
		t.Errorf("the token is in the log: %s", log)
	}
}

// A token is shown to the port alone, and a process is known on the socket alone.
func TestWaysIn(t *testing.T) {
	both := `{"v":1,"socket":{"path":"%DIR%/s/api"},"tcp":{"address":"127.0.0.1:0"},"callers":[{"name":"old","token_file":"%DIR%/token","keys":["` + agenttest.KeyURL + `"]},` + me("") + `]}`
	s := serve(t, &fake{}, both)
	r := s.tcpRequest(t)
	r.URL.Host = "localhost"
	resp, err := over(s.sock()).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a token on the socket: %s", resp.Status)
	}
}

// A key is written past the buffers of net/http, and the connection ends with it.
func TestAnswerEndsTheConnection(t *testing.T) {
	s := serve(t, &fake{kty: "oct", key: []byte("k")}, onTCP)
	resp, err := (&http.Transport{}).RoundTrip(s.tcpRequest(t))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if !resp.Close || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", resp.Header)
	}
}
