package harness

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// The proxy leads to one port of this machine, for names below localhost, and says
// who was asked for besides.
func TestProxy(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.Host)) }))
	defer s.Close()
	_, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
	p, err := StartProxy(port)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Stop() }()
	proxy, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS13}}}
	defer client.CloseIdleConnections()
	for address, ok := range map[string]bool{
		"https://kv1.vault.localhost:" + port: true, "https://login.microsoftonline.com": false, "https://localhost:1": false, "https://notlocalhost:" + port: false,
	} {
		resp, err := client.Get(address)
		if (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
		if err == nil {
			_ = resp.Body.Close()
		}
	}
	strange := p.Strange()
	slices.Sort(strange)
	if want := []string{"localhost:1", "login.microsoftonline.com:443", "notlocalhost:" + port}; !slices.Equal(strange, want) {
		t.Errorf("%q, want %q", strange, want)
	}
}
