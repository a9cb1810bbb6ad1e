package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/imds"
)

// tokenServer runs `token serve` and gives what it printed.
func tokenServer(t *testing.T, a *app, metadata bool) (endpoint, header string) {
	t.Helper()
	r, w := io.Pipe()
	a.stdout, a.stderr, a.json = w, io.Discard, true
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.serveTokens(ctx, "127.0.0.1:0", metadata) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var printed map[string]string
	if err := json.Unmarshal(line, &printed); err != nil {
		t.Fatal(err)
	}
	return printed["IDENTITY_ENDPOINT"], printed["IDENTITY_HEADER"]
}

// managed asks as Azure's libraries do.
func managed(t *testing.T, endpoint, header, resource string) (int, map[string]string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, endpoint+"?"+url.Values{"api-version": {"2019-08-01"}, "resource": {resource}}.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-IDENTITY-HEADER", header)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]string
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// TestTokenServe: the token that a local program gets is the principal's, and opens the
// broker.
func TestTokenServe(t *testing.T) {
	r := bareRig(t, initFlags{})
	r.start(servedBroker{})
	credential := r.dir + ".admin.json"
	endpoint, header := tokenServer(t, &app{credential: credential}, false)
	status, body := managed(t, endpoint, header, r.url)
	if status != http.StatusOK || body["resource"] != r.url || body["client_id"] == "" {
		t.Fatalf("%d %v", status, body)
	}
	if got := r.asks(t, nil, body["access_token"]); got != http.StatusOK {
		t.Errorf("the token opens nothing: %d", got)
	}
	if status, body := managed(t, endpoint, header, "https://vault.evil.example"); status != http.StatusBadRequest || body["error"] != "invalid_resource" {
		t.Errorf("a resource of another: %d %v", status, body)
	}
	if status, _ := managed(t, endpoint, "guess", r.url); status != http.StatusUnauthorized {
		t.Errorf("without the secret: %d", status)
	}
	if status, _ := managed(t, strings.Replace(endpoint, imds.PathAppService, imds.PathMetadata, 1), header, r.url); status != http.StatusNotFound {
		t.Errorf("metadata, which is off: %d", status)
	}
	if err := r.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status, body := managed(t, endpoint, header, r.url+"/"); status != http.StatusBadGateway || body["error"] == "" {
		t.Errorf("broker gone: %d %v", status, body)
	}
}

// With a session alone, its token is given for the broker's own name and no other.
func TestTokenServeSession(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Setenv("OPENSKR_CREDENTIAL", "")
	path, err := sessionPath()
	if err != nil {
		t.Fatal(err)
	}
	if err := saveSession(path, &session{Broker: "https://kv.example:8443", ClientID: "11111111-2222-4333-8444-555555555555", Token: "a.b.c", Expires: time.Now().Add(time.Hour).Unix()}); err != nil {
		t.Fatal(err)
	}
	endpoint, header := tokenServer(t, &app{}, false)
	if status, body := managed(t, endpoint, header, "https://kv.example:8443"); status != http.StatusOK || body["access_token"] != "a.b.c" {
		t.Errorf("%d %v", status, body)
	}
	if status, body := managed(t, endpoint, header, "https://kv.evil:8443"); status != http.StatusBadRequest || body["access_token"] != "" {
		t.Errorf("%d %v", status, body)
	}
}

func TestTokenServeRefuses(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Setenv("OPENSKR_CREDENTIAL", "")
	a := &app{stdout: io.Discard, stderr: io.Discard}
	if err := a.serveTokens(t.Context(), "127.0.0.1:0", false); exitCode(err) != codeUsage {
		t.Errorf("no session: %v", err)
	}
	path, err := sessionPath()
	if err != nil {
		t.Fatal(err)
	}
	if err := saveSession(path, &session{Broker: "https://kv.example", ClientID: "a", Expires: time.Now().Add(time.Hour).Unix()}); err != nil {
		t.Fatal(err)
	}
	for _, listen := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "localhost:0", "127.0.0.1"} {
		if err := a.serveTokens(t.Context(), listen, false); exitCode(err) != codeUsage {
			t.Errorf("%s: %v", listen, err)
		}
	}
}
