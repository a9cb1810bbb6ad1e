package api

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a network in memory, whose time is that of the test's bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

// piped is the server's end of a connection from an address.
type piped struct {
	net.Conn
	from net.Addr
}

func (p piped) RemoteAddr() net.Addr { return p.from }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, errors.New("closed")
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return nil }

// dial connects from an address.
func (p *pipes) dial(from netip.Addr) net.Conn {
	client, server := net.Pipe()
	p.conns <- piped{server, net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 1))}
	return client
}

// bounded serves h, over TLS if config is one, until the test ends.
func bounded(t *testing.T, c Connections, h http.Handler, config *tls.Config) (*pipes, *Listener) {
	t.Helper()
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := Server(h, &tls.Config{}, c.Log)
	l := c.Listen(p, s)
	if config == nil {
		go func() { _ = s.Serve(l) }()
	} else {
		s.TLSConfig = config
		go func() { _ = s.ServeTLS(l, "", "") }()
	}
	t.Cleanup(func() {
		_ = s.Close()
		time.Sleep(time.Second) // the clients notice
	})
	return p, l
}

// source is the n-th source.
func source(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), 1}) }

const healthy = "GET /healthz HTTP/1.1\r\nHost: " + testHost + "\r\n\r\n"

// served asks once on a connection, which stays open.
func served(conn net.Conn) error {
	if _, err := io.WriteString(conn, healthy); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}

// slowly are clients that hold a connection as cheaply as they can, until it is cut.
var slowly = map[string]struct {
	do  func(net.Conn)
	cut time.Duration
}{
	"silence":      {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, 5 * time.Second},
	"a header":     {func(c net.Conn) { trickle(c, "GET /healthz HTTP/1.1\r\nX: ") }, 5 * time.Second},
	"a body":       {func(c net.Conn) { trickle(c, postOf(1000)) }, 10 * time.Second},
	"its answer":   {deaf, 40 * time.Second},
	"idle, served": {func(c net.Conn) { _ = served(c); _, _ = io.Copy(io.Discard, c) }, 120 * time.Second},
}

func postOf(n int) string {
	return fmt.Sprintf("POST /v1/challenge HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", testHost, n)
}

// trickle sends start, and then a byte a second.
func trickle(c net.Conn, start string) {
	go func() {
		for _, err := io.WriteString(c, start); err == nil; _, err = io.WriteString(c, "x") {
			time.Sleep(time.Second)
		}
	}()
	_, _ = io.Copy(io.Discard, c)
}

// deaf sends requests and reads no answer.
func deaf(c net.Conn) {
	for err := error(nil); err == nil; {
		_, err = io.WriteString(c, healthy)
	}
}

// TestSlowConnections is DS-01: 5 000 slow connections are cut at their deadlines, and
// until then everybody else is served.
func TestSlowConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, l := bounded(t, Connections{Max: 1 << 20}, newHarness(t).handler, nil)
		const n = 1000 // of each
		cuts := make(chan error, n*len(slowly))
		start, i := time.Now(), 0
		for name, s := range slowly {
			for range n {
				conn := p.dial(source(i))
				i++
				go func() {
					s.do(conn)
					if took := time.Since(start); took != s.cut {
						cuts <- fmt.Errorf("%s: cut after %v, want %v", name, took, s.cut)
						return
					}
					cuts <- nil
				}()
			}
		}
		for range 45 {
			synctest.Wait()
			if err := served(p.dial(source(i))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		for range cap(cuts) {
			if err := <-cuts; err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if time.Sleep(5 * time.Minute); l.Open() != 0 {
			t.Errorf("%d connections left", l.Open())
		}
	})
}

// TestCrowd: connections that do nothing give way to those that ask, whatever they do
// nothing with; the ones that are asked on stay.
func TestCrowd(t *testing.T) {
	for name, s := range slowly {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, l := bounded(t, Connections{}, newHarness(t).handler, nil)
				for i := range 5000 {
					go s.do(p.dial(source(i)))
				}
				synctest.Wait()
				if l.Open() != DefaultConnections {
					t.Errorf("%d open", l.Open())
				}
				if err := served(p.dial(source(1 << 15))); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestIdleConnections is DS-02: of 50 000 idle connections as many stay as may, the last.
func TestIdleConnections(t *testing.T) {
	n := 50_000
	if testing.Short() {
		n = 5000
	}
	synctest.Test(t, func(t *testing.T) {
		p, l := bounded(t, Connections{}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), nil)
		conns := make([]net.Conn, n)
		for i := range conns {
			conns[i] = p.dial(source(i))
			if err := served(conns[i]); err != nil {
				t.Fatal(i, err)
			}
			synctest.Wait() // it is idle before the next one comes
		}
		if l.Open() != DefaultConnections {
			t.Errorf("%d open", l.Open())
		}
		if err := served(conns[n-DefaultConnections-1]); err == nil {
			t.Error("one that was idle for longer than all that stayed is open")
		}
		for i := n - DefaultConnections; i < n; i++ {
			if err := served(conns[i]); err != nil {
				t.Fatal(i, err)
			}
		}
	})
}

// TestShare: what one source opens takes nothing from another.
func TestShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proxy := netip.MustParseAddr("192.0.2.1")
		p, l := bounded(t, Connections{Max: 8, Proxies: []netip.Prefix{netip.PrefixFrom(proxy, 32)}}, newHarness(t).handler, nil)
		use := func(from netip.Addr) net.Conn {
			conn := p.dial(from)
			if err := served(conn); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return conn
		}
		good := use(source(1))
		var bad []net.Conn
		for i := range 100 {
			bad = append(bad, use(netip.AddrFrom4([4]byte{10, 0, 2, byte(i)})))
		}
		if l.Open() != 3 {
			t.Errorf("%d open, want one and a quarter of eight", l.Open())
		}
		for i, conn := range bad {
			if stays := served(conn) == nil; stays != (i >= 98) {
				t.Errorf("connection %d of the crowd is open: %v", i, stays)
			}
		}
		if err := served(good); err != nil {
			t.Errorf("one of another source: %v", err)
		}
		for range 20 {
			use(proxy)
		}
		if l.Open() != 8 {
			t.Errorf("%d open, a proxy may use all", l.Open())
		}
		synctest.Wait()
		if err := served(good); err == nil {
			t.Error("the one that was idle for longest is open")
		}
	})
}

// TestConnectionsInUse: what is being answered stays, over HTTP/2 too; the next one is
// refused, and taken once the answer is out.
func TestConnectionsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, answer := make(chan bool), make(chan bool)
		h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				t.Error(err)
			}
			asked <- true
			<-answer
		})
		cert, trust := certificate(t)
		p, l := bounded(t, Connections{Max: 1}, h, &tls.Config{Certificates: []tls.Certificate{cert}})
		tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: trust, DialContext: func(context.Context, string, string) (net.Conn, error) {
			return p.dial(source(1)), nil
		}}
		defer tr.CloseIdleConnections()
		got := make(chan string)
		go func() {
			resp, err := (&http.Client{Transport: tr}).Post("https://"+testHost, "text/plain", strings.NewReader("body"))
			if err != nil {
				got <- err.Error()
				return
			}
			got <- resp.Proto + " " + resp.Status
			_ = resp.Body.Close()
		}()
		<-asked
		if n, err := p.dial(source(2)).Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("taken while all are in use: %d, %v", n, err)
		}
		answer <- true
		if g := <-got; g != "HTTP/2.0 200 OK" {
			t.Error(g)
		}
		synctest.Wait()
		next := p.dial(source(2))
		defer next.Close()
		synctest.Wait()
		if first := l.waiting.Front().Value.(*connection); l.Open() != 1 || first.source != "10.0.2.0/24" {
			t.Errorf("%d open, of %s", l.Open(), first.source)
		}
	})
}

// lines counts what a program log says.
type lines struct {
	slog.Handler
	mu      sync.Mutex
	said    int
	counted int64 // complaints, those in numbers included
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler       { return l }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said++
	n := int64(1)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "number" {
			n = a.Value.Int64()
		}
		return true
	})
	l.counted += n
	return nil
}

// TestFloodOfHandshakes: connections that end within their handshake cost the log a line a
// minute, and none is left out of its numbers.
func TestFloodOfHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert, _ := certificate(t)
		log := &lines{}
		p, _ := bounded(t, Connections{Max: 4, Log: slog.New(log)}, http.NotFoundHandler(), &tls.Config{Certificates: []tls.Certificate{cert}})
		const n = 600
		for i := range n {
			conn := p.dial(source(i))
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			synctest.Wait()
			time.Sleep(time.Second / 4) // two minutes and a half
		}
		time.Sleep(5 * time.Minute)
		if synctest.Wait(); log.said > 8 {
			t.Errorf("%d lines of %d connections", log.said, n)
		}
		// What Connections itself says, once a minute, is among the lines.
		if log.counted < n || log.counted > n+3 {
			t.Errorf("%d counted, of %d", log.counted, n)
		}
		before := log.said
		_ = p.dial(source(1)).Close()
		if synctest.Wait(); log.said != before+1 {
			t.Error("the first one after a quiet time is not said at once")
		}
	})
}
