package api

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
)

// funnel is what every request passes, in this order: correlation id, method,
// host, path (normalised once), route, rate or identity, throttle, role, media type, body,
// handler, error table. Identity comes before everything that a caller could
// learn from; the role before any look-up.
type funnel struct {
	Config
	router   *echo.Echo
	limits   *limiter
	throttle *throttle
	gates    map[route.Queue]*Gate
	unknown  map[int]*route.Route // by status
}

func newFunnel(c Config) (*funnel, error) {
	f := &funnel{Config: c, router: echo.New(), limits: newLimiter(c.Rate), throttle: newThrottle(c.Throttle)}
	f.gates = map[route.Queue]*Gate{route.Deciding: c.Gate, route.Making: NewGate(runtime.GOMAXPROCS(0), 256)}
	f.router.HTTPErrorHandler = f.unrouted
	seen := map[string]bool{}
	for _, r := range f.routes() {
		if err := checkRoute(r, c.PublicLog); err != nil {
			return nil, err
		}
		if key := r.Method + " " + r.Path; seen[key] {
			return nil, fmt.Errorf("api: route %s twice", key)
		} else {
			seen[key] = true
		}
		f.router.Add(r.Method, r.Path, f.handle(r))
	}
	f.unknown = map[int]*route.Route{
		http.StatusNotFound:         refusing(opUnknown, release.ReasonNotFound, "no such route"),
		http.StatusMethodNotAllowed: refusing(opUnknown, release.ReasonMethod, "no such method on this route"),
	}
	return f, nil
}

// methods is what is served at all. Headers that claim another method are not read.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

var clientRequestID = regexp.MustCompile(`^[0-9A-Za-z._-]{1,64}$`)

// ServeHTTP implements [http.Handler].
func (f *funnel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := f.Now()
	c := &route.Call{Correlation: newCorrelation(), Source: f.source(r), Operation: opUnknown, Door: release.DoorNative}
	rec := &response{ResponseWriter: w}
	h := w.Header()
	h.Set("x-ms-request-id", c.Correlation)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	if id := r.Header.Get("x-ms-client-request-id"); clientRequestID.MatchString(id) {
		h.Set("x-ms-client-request-id", id)
	}
	defer func() {
		if p := recover(); p != nil {
			f.Metrics.Panic()
			f.Logger.Error("panic contained", "correlation", c.Correlation, "operation", c.Operation,
				"error", fmt.Errorf("panic: %v", p), "stack", string(debug.Stack()))
			if rec.status == 0 {
				f.refuse(rec, r, c, errors.New("panic"))
			}
		}
		f.Metrics.Request(c.Operation, rec.status, f.Now().Sub(start))
	}()
	if err := f.admit(r, c); err != nil {
		f.refuse(rec, r, c, err)
		return
	}
	r = r.WithContext(c.With(r.Context()))
	if !slices.Contains(methods, r.Method) { // the router would answer OPTIONS itself
		_, err := f.call(rec, r, f.unknown[http.StatusMethodNotAllowed], c)
		f.refuse(rec, r, c, err)
		return
	}
	f.router.ServeHTTP(rec, r)
}

// admit judges what needs no route: host and path.
func (f *funnel) admit(r *http.Request, c *route.Call) error {
	path, err := normalize(r.URL.EscapedPath())
	if err != nil {
		return release.Refuse(release.ReasonBadRequest, "%w", err)
	}
	r.URL.Path, r.URL.RawPath = path, ""
	if first, _, _ := strings.Cut(path[1:], "/"); keyVault[first] {
		c.Door = release.DoorKeyVault
	}
	c.Host = strings.ToLower(r.Host)
	if c.Vault = f.vault(c.Host); c.Vault == "" {
		if !slices.Contains(probes, path) {
			return release.Refuse(release.ReasonBadRequest, "host %.128q is not one of this broker's; see --host", r.Host)
		}
		c.Host, c.Vault = f.Hosts[0], keyvault.DefaultVault
	}
	if c.Root = identity.Scope(c.Vault, "", ""); slices.Contains(f.Hosts, c.Host) {
		c.Root = identity.Everywhere
	}
	if c.At, path = scopeOf(path, c.Root); c.At != "" {
		r.URL.Path, c.Door = path, release.DoorKeyVault
	}
	return nil
}

// vault is the one that an authority names, "" for none. Whether there is such a
// vault is nothing that a stranger learns: only its form is judged here.
func (f *funnel) vault(host string) string {
	if slices.Contains(f.Hosts, host) {
		return keyvault.DefaultVault
	}
	for _, s := range f.Suffixes {
		if name, ok := strings.CutSuffix(host, "."+s); ok && keyvault.ValidVault(name) {
			return name
		}
	}
	return ""
}

// handle is the part of the funnel that knows the route.
func (f *funnel) handle(r *route.Route) echo.HandlerFunc {
	return func(e echo.Context) error {
		req := e.Request()
		c, r := route.From(req.Context()), r
		c.Params = make(map[string]string, len(e.ParamNames()))
		for i, name := range e.ParamNames() {
			v := e.ParamValues()[i]
			if strings.Contains(v, "/") { // the router gives the last parameter all that is left
				r = f.unknown[http.StatusNotFound]
			}
			c.Params[name] = v
		}
		c.Operation = r.Name
		if r.Name != opUnknown {
			c.Door = r.Door
		}
		answer, err := f.call(e.Response().Writer, req, r, c)
		if err == nil {
			err = f.answer(e.Response().Writer, c, answer) // before its first byte, or never
		}
		if err != nil {
			f.refuse(e.Response().Writer, req, c, err)
		}
		return nil // the router answers nothing itself
	}
}

func (f *funnel) call(w http.ResponseWriter, req *http.Request, r *route.Route, c *route.Call) (any, error) {
	if err := f.authenticate(req, r, c); err != nil {
		return nil, err
	}
	if r.Access != route.Anyone { // those refuse whatever is asked
		if err := f.readBody(w, req, r, c); err != nil {
			return nil, err
		}
		if err := readQuery(req, r, c); err != nil {
			return nil, err
		}
	}
	ctx := req.Context()
	if gate := f.gates[r.Queue]; gate != nil {
		var leave func()
		var err error
		if ctx, leave, err = gate.Enter(ctx); err != nil {
			return nil, err
		}
		defer leave()
	}
	return r.Do(ctx, c)
}

// unrouted answers paths and methods that have no route: like a route that any
// principal may call, so that a stranger learns nothing about what exists.
func (f *funnel) unrouted(err error, e echo.Context) {
	status := http.StatusNotFound
	var h *echo.HTTPError
	if errors.As(err, &h) && h.Code == http.StatusMethodNotAllowed {
		status = h.Code
	}
	_ = f.handle(f.unknown[status])(e) // it answers every error itself
}

// newCorrelation makes a random UUID (RFC 9562 §5.4), the form of Azure's request ids.
func newCorrelation() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// response remembers the status that was sent.
type response struct {
	http.ResponseWriter
	status int
}

func (r *response) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *response) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController] and [http.MaxBytesReader].
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }
