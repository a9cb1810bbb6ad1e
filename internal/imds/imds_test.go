package imds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

const (
	testSecret   = "0123456789abcdef-secret"
	testClient   = "11111111-2222-4333-8444-555555555555"
	testResource = "https://vault.localhost:8443"
	appService   = PathAppService + "?api-version=2019-08-01&resource=" + testResource
	metadata     = PathMetadata + "?api-version=2018-02-01&resource=" + testResource
)

// source counts, and gives tokens of an hour.
type source struct {
	now   time.Time
	asked []string
	err   error
}

func (s *source) Token(_ context.Context, resource string) (*Token, error) {
	s.asked = append(s.asked, resource)
	if s.err != nil {
		return nil, s.err
	}
	return &Token{Access: fmt.Sprintf("token-%d", len(s.asked)), Begin: s.now, Expire: s.now.Add(time.Hour)}, nil
}

func newHandler(t testing.TB, imds bool) (*source, http.Handler) {
	t.Helper()
	s := &source{now: time.Unix(1_800_000_000, 0)}
	h, err := New(Config{Source: s, ClientID: testClient, Secret: testSecret, Metadata: imds, Now: func() time.Time { return s.now }})
	if err != nil {
		t.Fatal(err)
	}
	return s, h
}

// ask sends a good request as change makes it.
func ask(t testing.TB, h http.Handler, target string, change func(*http.Request)) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:40000"+target, nil)
	r.RemoteAddr = "127.0.0.1:50000"
	r.Header.Set("X-IDENTITY-HEADER", testSecret)
	r.Header.Set("Metadata", "true")
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return w.Code, body
}

func TestAnswers(t *testing.T) {
	s, h := newHandler(t, true)
	status, body := ask(t, h, appService, func(r *http.Request) { r.Header.Del("Metadata") })
	for name, want := range map[string]string{
		"access_token": "token-1", "expires_on": "1800003600", "resource": testResource, "token_type": "Bearer", "client_id": testClient,
	} {
		if status != http.StatusOK || body[name] != want {
			t.Errorf("%d, %s: %v, want %q", status, name, body[name], want)
		}
	}
	s.now = s.now.Add(10 * time.Minute)
	status, body = ask(t, h, metadata+"&client_id="+testClient, func(r *http.Request) { r.Header.Del("X-IDENTITY-HEADER") })
	for name, want := range map[string]string{
		"access_token": "token-1", "expires_in": "3000", "expires_on": "1800003600", "not_before": "1800000000", "refresh_token": "", "resource": testResource,
	} {
		if status != http.StatusOK || body[name] != want {
			t.Errorf("%d, %s: %v, want %q", status, name, body[name], want)
		}
	}
	s.now = s.now.Add(46 * time.Minute)
	if _, body = ask(t, h, appService, nil); body["access_token"] != "token-2" {
		t.Errorf("a token with four minutes to live is given out: %v", body)
	}
	if _, body = ask(t, h, appService+"/", nil); body["resource"] != testResource+"/" || s.asked[2] != testResource {
		t.Errorf("resource with a slash: %v, asked for %v", body, s.asked)
	}
}

func TestRefusals(t *testing.T) {
	s, h := newHandler(t, true)
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
	}
	for name, c := range map[string]struct {
		target string
		change func(*http.Request)
		want   int
	}{
		"no secret":           {appService, header("X-IDENTITY-HEADER"), http.StatusUnauthorized},
		"wrong secret":        {appService, header("X-IDENTITY-HEADER", testSecret+"x"), http.StatusUnauthorized},
		"two secrets":         {appService, header("X-IDENTITY-HEADER", testSecret, testSecret), http.StatusUnauthorized},
		"no Metadata":         {metadata, header("Metadata"), http.StatusBadRequest},
		"Metadata false":      {metadata, header("Metadata", "false"), http.StatusBadRequest},
		"forwarded":           {appService, header("X-Forwarded-For", "1.2.3.4"), http.StatusForbidden},
		"forwarded, empty":    {metadata, header("X-Forwarded-For", ""), http.StatusForbidden},
		"by a proxy":          {appService, header("Via", "1.1 p"), http.StatusForbidden},
		"from a page":         {appService, header("Origin", "http://127.0.0.1:40000"), http.StatusForbidden},
		"from a browser":      {metadata, header("Sec-Fetch-Site", "same-origin"), http.StatusForbidden},
		"from elsewhere":      {appService, func(r *http.Request) { r.RemoteAddr = "10.0.0.2:5" }, http.StatusForbidden},
		"rebound name":        {appService, func(r *http.Request) { r.Host = "evil.example:40000" }, http.StatusForbidden},
		"name like localhost": {appService, func(r *http.Request) { r.Host = "localhost.evil.example" }, http.StatusForbidden},
		"POST":                {appService, func(r *http.Request) { r.Method = http.MethodPost }, http.StatusMethodNotAllowed},
		"another path":        {"/msi/token/x?resource=" + testResource, nil, http.StatusNotFound},
		"no resource":         {PathAppService + "?api-version=2019-08-01", nil, http.StatusBadRequest},
		"no version":          {PathAppService + "?resource=" + testResource, nil, http.StatusBadRequest},
		"plain resource":      {PathAppService + "?api-version=1&resource=http://a", nil, http.StatusBadRequest},
		"two resources":       {appService + "&resource=https://b", nil, http.StatusBadRequest},
		"another identity":    {appService + "&client_id=x", nil, http.StatusBadRequest},
		"by resource id":      {metadata + "&msi_res_id=/subscriptions/x", nil, http.StatusBadRequest},
	} {
		if status, body := ask(t, h, c.target, c.change); status != c.want || body["error"] == "" || body["access_token"] != nil {
			t.Errorf("%s: %d %v, want %d", name, status, body, c.want)
		}
	}
	if len(s.asked) != 0 {
		t.Errorf("the broker was asked: %v", s.asked)
	}
}

// At an address of the machine's own, requests come from it and name it.
func TestMetadataAddress(t *testing.T) {
	s := &source{now: time.Unix(1_800_000_000, 0)}
	h, err := New(Config{Source: s, ClientID: testClient, Secret: testSecret, Metadata: true, Address: netip.MustParseAddr("169.254.169.254"), Now: func() time.Time { return s.now }})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		from, host string
		want       int
	}{
		"as clients do":    {"169.254.169.254:50000", "169.254.169.254", http.StatusOK},
		"with the port":    {"169.254.169.254:50000", "169.254.169.254:80", http.StatusOK},
		"from the network": {"169.254.1.1:50000", "169.254.169.254", http.StatusForbidden},
		"from a container": {"172.17.0.2:50000", "169.254.169.254", http.StatusForbidden},
		"by a name":        {"169.254.169.254:50000", "metadata.evil.example", http.StatusForbidden},
		"another's name":   {"169.254.169.254:50000", "169.254.169.253", http.StatusForbidden},
	} {
		if status, body := ask(t, h, metadata, func(r *http.Request) { r.RemoteAddr, r.Host = c.from, c.host }); status != c.want {
			t.Errorf("%s: %d %v", name, status, body)
		}
	}
	_, h = newHandler(t, true)
	if status, _ := ask(t, h, metadata, func(r *http.Request) { r.Host = "169.254.169.254" }); status != http.StatusForbidden {
		t.Errorf("on the loopback, by an address that is not its: %d", status)
	}
}

// Without the switch there is no endpoint that every user of the machine could ask.
func TestMetadataIsOff(t *testing.T) {
	_, h := newHandler(t, false)
	if status, _ := ask(t, h, metadata, nil); status != http.StatusNotFound {
		t.Error(status)
	}
}

func TestFailures(t *testing.T) {
	s, h := newHandler(t, false)
	s.err = fmt.Errorf("%w: https://evil", ErrResource)
	if status, body := ask(t, h, appService, nil); status != http.StatusBadRequest || body["error"] != "invalid_resource" {
		t.Errorf("%d %v", status, body)
	}
	s.err = errors.New("canary")
	if status, body := ask(t, h, appService, nil); status != http.StatusBadGateway || body["error_description"] == "canary" {
		t.Errorf("%d %v", status, body)
	}
	s.err = nil
	if status, _ := ask(t, h, appService, nil); status != http.StatusOK {
		t.Error("a failure is remembered")
	}
	if _, err := New(Config{Source: s, ClientID: "a", Secret: "short", Now: time.Now}); err == nil {
		t.Error("short secret accepted")
	}
}

// What is held is bounded, whatever resources are asked for.
func TestHeldIsBounded(t *testing.T) {
	_, h := newHandler(t, false)
	for i := range 3 * maxHeld {
		if status, _ := ask(t, h, fmt.Sprintf("%s%d", appService, i), nil); status != http.StatusOK {
			t.Fatal(status)
		}
	}
	if n := len(h.(*handler).held); n > maxHeld {
		t.Errorf("%d tokens held", n)
	}
}
