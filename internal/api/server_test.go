package api

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// certificate makes a self-signed one for a server, and what trusts it.
func certificate(t *testing.T) (tls.Certificate, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "t"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"kv1.vault.local"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, &tls.Config{RootCAs: pool, ServerName: "kv1.vault.local"}
}

// serve runs the API on a real socket and gives its address and a client.
func serve(t *testing.T, h *harness, config *tls.Config) (addr string, client *http.Client) {
	t.Helper()
	cert, trust := certificate(t)
	config.Certificates = []tls.Certificate{cert}
	s := Server(h.handler, config, h.config.Logger)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	h.must(err)
	go func() { _ = s.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = s.Close() })
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: trust}
	t.Cleanup(tr.CloseIdleConnections)
	return l.Addr().String(), &http.Client{Transport: tr}
}

func TestServer(t *testing.T) {
	h := newHarness(t)
	addr, client := serve(t, h, &tls.Config{})
	get := func(header http.Header) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+"/keys?api-version=7.4", nil)
		h.must(err)
		req.Host, req.Header = testHost, header
		resp, err := client.Do(req)
		h.must(err)
		_, _ = io.Copy(io.Discard, resp.Body)
		h.must(resp.Body.Close())
		return resp
	}
	resp := get(http.Header{})
	if resp.ProtoMajor != 2 || resp.TLS.Version != tls.VersionTLS13 || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s, TLS %x, %d", resp.Proto, resp.TLS.Version, resp.StatusCode)
	}
	old := client.Transport.(*http.Transport).TLSClientConfig.Clone()
	old.MaxVersion = tls.VersionTLS12
	if c, err := tls.Dial("tcp", addr, old); err == nil {
		_ = c.Close()
		t.Error("TLS 1.2 spoken without being asked for")
	}
}

// A deployment that must serve older clients says so in its tls.Config.
func TestServerTLS12(t *testing.T) {
	h := newHarness(t)
	addr, client := serve(t, h, &tls.Config{MinVersion: tls.VersionTLS12})
	c := client.Transport.(*http.Transport).TLSClientConfig.Clone()
	c.MaxVersion = tls.VersionTLS12
	conn, err := tls.Dial("tcp", addr, c)
	h.must(err)
	h.must(conn.Close())
}

// Timeouts are explicit: the library's defaults are none.
func TestServerTimeouts(t *testing.T) {
	s := Server(http.NotFoundHandler(), &tls.Config{}, newHarness(t).config.Logger)
	for name, d := range map[string]time.Duration{"header": s.ReadHeaderTimeout, "request": s.ReadTimeout, "answer": s.WriteTimeout, "idle": s.IdleTimeout} {
		if d <= 0 || d > 2*time.Minute {
			t.Errorf("%s: %v", name, d)
		}
	}
	if s.MaxHeaderBytes <= 0 || s.MaxHeaderBytes > 64<<10 {
		t.Errorf("headers: %d", s.MaxHeaderBytes)
	}
}

// TestSmuggling is AP-14: what two parsers would cut differently ends the connection.
func TestSmuggling(t *testing.T) {
	h := newHarness(t)
	addr, client := serve(t, h, &tls.Config{})
	config := client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"http/1.1"}
	const post = "POST /v1/challenge HTTP/1.1\r\nHost: " + testHost + "\r\nContent-Type: application/json\r\n"
	for name, raw := range map[string]string{
		"two lengths":      post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
		"TE.TE":            post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"unknown encoding": post + "Transfer-Encoding: xchunked\r\n\r\n{}",
		"obs-fold":         post + "X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
		"space in name":    post + "Content-Length : 2\r\n\r\n{}",
		"NUL in value":     post + "X: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
		"two hosts":        "GET /healthz HTTP/1.1\r\nHost: " + testHost + "\r\nHost: evil\r\n\r\n",
		"no host":          "GET /healthz HTTP/1.1\r\n\r\n",
		"AP-12 headers":    "GET /healthz HTTP/1.1\r\nHost: " + testHost + "\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n",
		"AP-12 many":       "GET /healthz HTTP/1.1\r\nHost: " + testHost + "\r\n" + strings.Repeat("X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 1000) + "\r\n",
		"CONNECT":          "CONNECT evil:1 HTTP/1.1\r\nHost: " + testHost + "\r\n\r\n",
	} {
		conn, err := tls.Dial("tcp", addr, config)
		h.must(err)
		_, err = fmt.Fprint(conn, raw)
		h.must(err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			if resp.StatusCode < 400 {
				t.Errorf("%s: %d", name, resp.StatusCode)
			}
			_ = resp.Body.Close()
		}
		_ = conn.Close()
	}
}
