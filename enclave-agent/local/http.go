package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/openskr/openskr/internal/imds"
	"github.com/openskr/openskr/internal/strict"
)

// maxRequest bounds a body in bytes: the base64 of runtime data, or an access token.
const maxRequest = 64 << 10

// problem is an answer that is not 200: the sidecar's {"error":"…"}.
type problem struct {
	status int
	text   string // for the caller
	err    error  // for the log alone
}

func (p *problem) Error() string {
	if p.err != nil {
		return p.text + ": " + p.err.Error()
	}
	return p.text
}

func refuse(status int, format string, args ...any) *problem {
	return &problem{status: status, text: fmt.Sprintf(format, args...)}
}

// asking is one request of somebody who is known.
type asking struct {
	*http.Request
	callers callers
	log     *slog.Logger
}

// endpoint answers with a body of JSON, which is cleared when it has been sent.
type endpoint func(*Server, *asking) ([]byte, error)

// route is one path of the sidecar's.
type route struct {
	method string
	do     endpoint
}

func routes() map[string]route {
	return map[string]route{
		"/status":          {http.MethodGet, (*Server).status},
		"/attest/raw":      {http.MethodPost, (*Server).raw},
		"/attest/combined": {http.MethodPost, (*Server).combined},
		"/attest/maa":      {http.MethodPost, (*Server).maa},
		"/key/release":     {http.MethodPost, (*Server).keyRelease},
	}
}

// who says who sent a request, or why nobody is answered.
type who func(*http.Request) (callers, *problem)

// handler answers those that identify knows.
func (s *Server) handler(identify who) http.Handler {
	all := routes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log := s.opts.Log.With("endpoint", fmt.Sprintf("%.64s", r.URL.Path), "from", from(r))
		body, err := s.answer(r, all, identify, log)
		if err == nil {
			err = send(w, body)
			if err != nil {
				log.Info("the caller was gone before it had its answer", "error", err)
			}
			return
		}
		var p *problem
		if !errors.As(err, &p) {
			p = &problem{status: http.StatusInternalServerError, text: "internal error", err: err}
		}
		log.Warn("refused", "status", p.status, "reason", p)
		fail(w, p)
	})
}

func (s *Server) answer(r *http.Request, all map[string]route, identify who, log *slog.Logger) ([]byte, error) {
	to, ok := all[r.URL.Path]
	if !ok {
		return nil, refuse(http.StatusNotFound, "no such endpoint: /status, /attest/raw, /attest/maa, /attest/combined and /key/release are")
	}
	if p := browsed(r); p != nil {
		return nil, p
	}
	found, p := identify(r)
	if p != nil {
		return nil, p
	}
	if r.Method != to.method {
		return nil, refuse(http.StatusMethodNotAllowed, "%s only", to.method)
	}
	return to.do(s, &asking{r, found, log.With("caller", found.names())})
}

// browsed refuses what a page or a proxy was talked into sending. There is no CORS here,
// so that a preflight is refused too.
func browsed(r *http.Request) *problem {
	if name := imds.Indirect(r.Header); name != "" {
		return refuse(http.StatusForbidden, "this API answers programs of this machine, which send no header %s", name)
	}
	return nil
}

// peerKey is under which a connection's context has its [seen].
type peerKey struct{}

// seen is what the kernel says of a connection on the socket.
type seen struct {
	peer *peer
	err  error
}

// connected looks at who connects, once.
func (s *Server) connected(ctx context.Context, c net.Conn) context.Context {
	if b, ok := c.(*boundedConn); ok {
		c = b.Conn
	}
	if u, ok := c.(*net.UnixConn); ok {
		p, err := peerOf(u)
		return context.WithValue(ctx, peerKey{}, seen{p, err})
	}
	return ctx
}

// from names the sender for the log.
func from(r *http.Request) string {
	if s, ok := r.Context().Value(peerKey{}).(seen); ok && s.err == nil {
		return s.peer.String()
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if err != nil || !ok {
		return r.RemoteAddr
	}
	to, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return r.RemoteAddr
	}
	if uid, ok := owner(remote, to); ok {
		return fmt.Sprintf("uid %d, %s", uid, remote)
	}
	return r.RemoteAddr
}

// byPeer knows callers by what the kernel says of the process.
func (s *Server) byPeer(r *http.Request) (callers, *problem) {
	at, ok := r.Context().Value(peerKey{}).(seen)
	if !ok || at.err != nil {
		return nil, &problem{http.StatusForbidden, "the kernel does not say which program of this machine asks", at.err}
	}
	found := s.callers.peer(at.peer)
	if len(found) == 0 {
		return nil, refuse(http.StatusForbidden, "%v: this program is %v", errStranger, at.peer)
	}
	return found, nil
}

// byToken knows callers by their token, and answers only who asked for this address: a
// page whose name was pointed here (DNS rebinding) has another Host.
func (s *Server) byToken(r *http.Request) (callers, *problem) {
	if !s.hosts(r.Host) {
		return nil, refuse(http.StatusForbidden, "Host %.64q is not the address of this API, http://%s", r.Host, s.config.TCP.Address)
	}
	if r.URL.Path == "/status" && len(r.Header.Values("Authorization")) == 0 {
		return nil, nil // it says nothing but that it is here, to whoever checks that
	}
	token, ok := bearer(r)
	if !ok {
		return nil, refuse(http.StatusUnauthorized, "want Authorization: Bearer and the token of a caller, or the token as the password of http://NAME:TOKEN@%s", s.config.TCP.Address)
	}
	found := s.callers.bearer(token)
	if len(found) == 0 {
		return nil, refuse(http.StatusUnauthorized, "%v: another token", errStranger)
	}
	return found, nil
}

// bearer reads one Authorization header. A client that knows no tokens sends the one in
// the address that it was given, as a password (RFC 7617).
func bearer(r *http.Request) (string, bool) {
	all := r.Header.Values("Authorization")
	if len(all) != 1 {
		return "", false
	}
	if _, password, ok := r.BasicAuth(); ok {
		return password, true
	}
	scheme, token, ok := strings.Cut(all[0], " ")
	return token, ok && strings.EqualFold(scheme, "Bearer")
}

// hosts says that a Host is the address that is listened on, or localhost and its port.
func (s *Server) hosts(host string) bool {
	at, err := netip.ParseAddrPort(s.tcp.Addr().String())
	if err != nil {
		return false
	}
	return host == at.String() || host == fmt.Sprintf("localhost:%d", at.Port())
}

// read reads the body into v, strictly.
func (a *asking) read(w any) *problem {
	b, err := io.ReadAll(io.LimitReader(a.Body, maxRequest+1))
	defer clear(b)
	if err == nil && !bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) { // null would decode to nothing
		err = errors.New("not a JSON object")
	}
	if err == nil {
		err = strict.Unmarshal(b, maxRequest, w)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "invalid request format: %v", err)
	}
	return nil
}

// send writes an answer straight to the connection: the buffers of net/http are used
// again uncleared, and this may be a key. When the connection ends, the answer is cleared.
func send(w http.ResponseWriter, body []byte) error {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		clear(body)
		return err
	}
	defer conn.Close()
	defer clear(body)
	if buffered.Reader.Buffered() > 0 {
		return errors.New("a second request came before the first was answered")
	}
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n", len(body))
	if err := conn.SetWriteDeadline(time.Now().Add(bodyLimit)); err != nil {
		return err
	}
	buffers := net.Buffers{[]byte(head), body}
	_, err = buffers.WriteTo(conn)
	return err
}

func fail(w http.ResponseWriter, p *problem) {
	body, err := strict.Marshal(struct {
		Error string `json:"error"`
	}{p.text})
	if err != nil { // text that is not UTF-8
		body = []byte(`{"error":"internal error"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch p.status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="openskr"`)
	case http.StatusTooManyRequests:
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(p.status)
	_, _ = w.Write(body) // the caller is gone: nobody is left to tell
}
