package main

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLoginChallenge(t *testing.T) {
	for header, want := range map[string][2]string{
		`Bearer authorization="https://h/t", resource="https://h"`:         {"https://h/t", "https://h"},
		`Bearer authorization="https://h/t/",resource="https://h/", x="y"`: {"https://h/t", "https://h"},
		`Basic realm="x"`:                        {},
		`Bearer authorization="https://h/t"`:     {},
		`Bearer resource="https://h"`:            {},
		``:                                       {},
		`Bearer authorization=, resource=`:       {},
		`bearer authorization="a", resource="b"`: {},
	} {
		authority, resource, err := loginChallenge(header)
		if (err == nil) != (want[0] != "") || err == nil && (authority != want[0] || resource != want[1]) {
			t.Errorf("%s: %q %q %v", header, authority, resource, err)
		}
	}
}

// The secret goes to the broker that was named and to nobody else.
func TestLoginElsewhere(t *testing.T) {
	sent := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			sent = true
		}
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https://elsewhere.example/t", resource="https://elsewhere.example"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer srv.Close()
	c := &client{base: srv.URL, http: srv.Client()}
	_, _, err := c.login(t.Context(), &credential{ClientID: "c", ClientSecret: "s"})
	if err == nil || !strings.Contains(err.Error(), "not this broker") || sent {
		t.Errorf("%v, secret sent: %v", err, sent)
	}
}

// A redirect is an answer like any other: the token does not follow it.
func TestNoRedirect(t *testing.T) {
	followed := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	defer other.Close()
	srv := httptest.NewTLSServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer srv.Close()
	h, err := pinned(pemCert(srv))
	if err != nil {
		t.Fatal(err)
	}
	c := &client{base: srv.URL, token: "t", http: h}
	if err := c.call(t.Context(), http.MethodGet, "/keys", nil, nil); err == nil || followed {
		t.Errorf("%v, followed: %v", err, followed)
	}
}

func TestBaseURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://h": "https://h", "https://h:8443/": "https://h:8443",
		"http://h": "", "https://": "", "h:8443": "", "https://u@h": "", "https://h/path": "", "https://h?q": "", "https://h#f": "",
	} {
		if got, err := baseURL(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"": "-", "plain": "plain", "a\x1b[31mb": "a\uFFFD[31mb", "a\nb": "a\uFFFDb", "x\u202ey": "x\uFFFDy", "ü": "ü", "\u009b": "\uFFFD",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// What a person can do about an answer is part of the error.
func TestAdvice(t *testing.T) {
	for _, c := range []struct {
		status       int
		reason, want string
	}{
		{http.StatusUnauthorized, "unauthorized", "openskr login"},
		{http.StatusTooManyRequests, "throttled", "again in 7 s"},
		{http.StatusServiceUnavailable, "overloaded", "/readyz"},
		{http.StatusServiceUnavailable, "clock_untrusted", "openskr clock accept"},
		{http.StatusForbidden, "role_missing", "no"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			refuse(w, c.status, "Code", c.reason)
		}))
		err := (&client{base: srv.URL, http: srv.Client()}).call(t.Context(), http.MethodGet, "/", nil, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d %s: %v, want %q", c.status, c.reason, err, c.want)
		}
		srv.Close()
	}
}

func TestPrintableLines(t *testing.T) {
	e := &brokerError{Status: 400, Code: "BadParameter", Message: "refused\n3:1: var\tx\x1b is unsafe\r\n5:2: y\n"}
	if got, want := e.Error(), "the broker answered 400 BadParameter: refused\n  3:1: var  x\uFFFD is unsafe\n  5:2: y"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func pemCert(srv *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
}

func TestExpected(t *testing.T) {
	for _, c := range [][3]string{
		{"input.a == 1", "input.a", "1"},
		{"1 == input.a", "input.a", "1"},
		{"input.a", "input.a", "true"},
		{"input.a != 1", "input.a", ""},
		{"input.ab == 1", "input.a", ""},
		{"data.references.web[input.a]", "input.a", ""},
		{`x-ms-attestation-type equals "sevsnpvm"`, "x-ms-attestation-type", `"sevsnpvm"`},
		{"authority is https://a", "authority", "https://a"},
		{`a notEquals "b"`, "a", ""},
	} {
		if got := expected(c[0], c[1]); got != c[2] {
			t.Errorf("%s wants %s to be %q, said %q", c[0], c[1], c[2], got)
		}
	}
}
