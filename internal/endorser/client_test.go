package endorser

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
)

func TestClient(t *testing.T) {
	pool := x509.NewCertPool()
	tr, ok := newClient(&Config{Roots: pool}).Transport.(*http.Transport)
	if !ok {
		t.Fatal("not the own transport")
	}
	if tr.Proxy != nil {
		t.Error("a proxy of the environment could be used")
	}
	if c := tr.TLSClientConfig; c.MinVersion < tls.VersionTLS12 || c.InsecureSkipVerify || c.RootCAs != pool {
		t.Errorf("TLS: %+v", c)
	}
	if !tr.DisableCompression || tr.MaxResponseHeaderBytes == 0 {
		t.Error("an answer could blow up")
	}
}

func TestIssuersAreNames(t *testing.T) {
	for _, bad := range []string{"", "two words", "line\nbreak", strings.Repeat("x", maxIDLength+1)} {
		if _, err := New(Config{Issuers: map[string]string{bad: "https://issuer.example/keys"}}); err == nil {
			t.Errorf("accepted issuer %q", bad)
		}
	}
}

func TestSameHost(t *testing.T) {
	get := func(address string) *http.Request {
		r, err := http.NewRequest(http.MethodGet, address, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	via := []*http.Request{get("https://a.example/x")}
	if err := sameHost(get("https://a.example/y"), via); err != nil {
		t.Errorf("on the host: %v", err)
	}
	for _, to := range []string{"http://a.example/x", "https://b.example/x", "https://a.example:8443/x", "https://a.example.b.example/x"} {
		if sameHost(get(to), via) == nil {
			t.Errorf("followed to %s", to)
		}
	}
	if sameHost(get("https://a.example/y"), []*http.Request{via[0], via[0], via[0], via[0]}) == nil {
		t.Error("followed for ever")
	}
}
