package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Proxy is an HTTP proxy for HTTPS (CONNECT) that knows one broker. Names below
// localhost resolve on no Debian by themselves, and every client of Azure reads
// HTTPS_PROXY: so none needs a changed resolver or a line in /etc/hosts. What is
// not the broker is refused and remembered: a client that wants to ask somebody
// else, Microsoft for example, is found out.
type Proxy struct {
	// URL is http://127.0.0.1:PORT.
	URL string

	port    string
	server  *http.Server
	mu      sync.Mutex
	strange []string
}

// StartProxy serves a proxy to the broker on port of the loopback address.
func StartProxy(port string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{URL: "http://" + l.Addr().String(), port: port}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = p.server.Serve(l) }() // ends with Stop
	return p, nil
}

// Stop ends the proxy; tunnels end with their clients.
func (p *Proxy) Stop() error { return p.server.Close() }

// Strange lists every other host that a client wanted, in order, once each.
func (p *Proxy) Strange() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.strange)
}

// ServeHTTP implements [http.Handler].
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, port, err := net.SplitHostPort(r.Host)
	local := host == "localhost" || strings.HasSuffix(host, ".localhost")
	if r.Method != http.MethodConnect || err != nil || !local || port != p.port {
		p.mu.Lock()
		if !slices.Contains(p.strange, r.Host) {
			p.strange = append(p.strange, r.Host)
		}
		p.mu.Unlock()
		http.Error(w, "this proxy leads to one broker only", http.StatusForbidden)
		return
	}
	if err := p.tunnel(r.Context(), w); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
}

// tunnel joins client and broker until either ends.
func (p *Proxy) tunnel(ctx context.Context, w http.ResponseWriter) error {
	var d net.Dialer
	broker, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", p.port))
	if err != nil {
		return err
	}
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		return errors.Join(errors.New("cannot take over the connection"), broker.Close())
	}
	client, buffered, err := hijacker.Hijack()
	if err != nil {
		return errors.Join(err, broker.Close())
	}
	if _, err := fmt.Fprint(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		_, _ = client.Close(), broker.Close()
		return nil // nobody listens any more
	}
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(broker, buffered); _ = broker.(*net.TCPConn).CloseWrite() })
	both.Go(func() { _, _ = io.Copy(client, broker); _ = client.(*net.TCPConn).CloseWrite() })
	both.Wait()
	_, _ = client.Close(), broker.Close()
	return nil
}
