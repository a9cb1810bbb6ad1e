package api

import (
	"container/list"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// DefaultConnections is the default of Connections.Max.
const DefaultConnections = 4096

// Share is what one source may hold of so many connections, where nothing else is said.
func Share(connections int) int { return max(connections/4, 1) }

// Connections bounds how many connections a server holds: net/http takes all that come,
// until there is no memory or no file left. When there are too many, the one that has been
// without a whole request for longest gives way: nothing was asked on it, or its request
// comes or its answer is read too slowly. When all have one, the new one is refused.
type Connections struct {
	Max int // 0: DefaultConnections
	// PerSource is what one source (an IPv4 /24 or an IPv6 /48) may hold; 0: its Share of
	// Max. Beyond it the source's own connections give way, and nobody else's.
	PerSource int
	// Proxies hold connections for others, so only Max is for them.
	Proxies []netip.Prefix
	Log     *slog.Logger
}

// Listener is a listener whose connections are bounded.
type Listener struct {
	net.Listener
	c Connections

	mu      sync.Mutex
	open    int
	waiting list.List // of *connection without a whole request, for longest first
	sources map[string]*share
	warned  time.Time
}

// share is what one source holds.
type share struct {
	open    int
	waiting list.List
}

// connection is in the lists of those that wait while asked is 0.
type connection struct {
	net.Conn
	of     *Listener
	source string // "" for a proxy
	share  *share
	asked  int // whole requests in handlers
	closed bool
	all    *list.Element
	own    *list.Element
}

type connectionKey struct{}

// arriving is the body of a request. A connection is in use once all of it is there: who
// sends one slowly gives way like those that send nothing.
type arriving struct {
	io.ReadCloser
	on   *connection
	here bool
}

func (b *arriving) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.arrive()
	}
	return n, err
}

func (b *arriving) arrive() {
	if !b.here {
		b.here = true
		b.on.enter()
	}
}

// Listen bounds the connections of l, which s must serve: s tells which of them are in use.
func (c Connections) Listen(l net.Listener, s *http.Server) *Listener {
	if c.Max == 0 {
		c.Max = DefaultConnections
	}
	if c.PerSource == 0 {
		c.PerSource = Share(c.Max)
	}
	h := s.Handler
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if t, ok := conn.(*tls.Conn); ok {
			conn = t.NetConn()
		}
		return context.WithValue(ctx, connectionKey{}, conn)
	}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			conn.enter()
			defer conn.leave()
			if r.ContentLength != 0 { // it waits anew, for the body
				conn.leave()
				body := &arriving{r.Body, conn, false}
				defer body.arrive()
				r.Body = body
			}
		}
		h.ServeHTTP(w, r)
	})
	return &Listener{Listener: l, c: c, sources: map[string]*share{}}
}

// Open is how many connections are held.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c, gone := l.hold(conn)
		if gone != nil {
			_ = gone.Close()
		}
		if c != nil {
			return c, nil
		}
	}
}

// hold takes conn in, and gives what must be closed for it: another one or, with no
// connection, conn itself.
func (l *Listener) hold(conn net.Conn) (held *connection, gone net.Conn) {
	at := client(conn.RemoteAddr().String(), nil, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &connection{Conn: conn, of: l, share: &share{}} // a proxy's counts for nobody
	crowd, full := &l.waiting, l.open >= l.c.Max
	if !proxy(at, l.c.Proxies) {
		c.source = prefix(at)
		if s := l.sources[c.source]; s != nil {
			c.share = s
		}
		if c.share.open >= l.c.PerSource {
			crowd, full = &c.share.waiting, true
		}
	}
	if full {
		l.warn(c.source)
		oldest := crowd.Front()
		if oldest == nil {
			return nil, conn
		}
		gone = oldest.Value.(*connection).Conn
		oldest.Value.(*connection).forget()
	}
	if l.open++; c.source != "" {
		l.sources[c.source] = c.share
		c.share.open++
	}
	c.wait()
	return c, gone
}

// warn says so once a minute.
func (l *Listener) warn(source string) {
	if now := time.Now(); now.Sub(l.warned) >= time.Minute {
		l.warned = now
		l.c.Log.Warn("too many connections: idle or slow ones are closed", "open", l.open, "source", source, "connections", l.c.Max, "connections_per_source", l.c.PerSource)
	}
}

func (c *connection) wait() {
	c.all, c.own = c.of.waiting.PushBack(c), c.share.waiting.PushBack(c)
}

func (c *connection) stopWaiting() {
	c.of.waiting.Remove(c.all)
	c.share.waiting.Remove(c.own)
}

// enter and leave stand around every request.
func (c *connection) enter() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if c.asked++; c.asked == 1 && !c.closed {
		c.stopWaiting()
	}
}

func (c *connection) leave() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if c.asked--; c.asked == 0 && !c.closed {
		c.wait()
	}
}

// forget takes c out of the count. The listener's lock is held.
func (c *connection) forget() {
	if c.closed {
		return
	}
	c.closed = true
	if c.asked == 0 {
		c.stopWaiting()
	}
	c.of.open--
	if c.source == "" {
		return
	}
	if c.share.open--; c.share.open == 0 {
		delete(c.of.sources, c.source)
	}
}

// Close implements [net.Conn].
func (c *connection) Close() error {
	c.of.mu.Lock()
	c.forget()
	c.of.mu.Unlock()
	return c.Conn.Close()
}
