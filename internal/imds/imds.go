// Package imds gives local programs the tokens of one principal in the two ways in
// which Azure's libraries ask a machine for its managed identity: as App Service does
// (IDENTITY_ENDPOINT and IDENTITY_HEADER) and, where that is switched on, as the
// instance metadata service does. Nobody beyond this machine is answered, nor a request
// that somebody else's server or browser was talked into sending.
package imds

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Paths that are answered.
const (
	PathAppService = "/msi/token"
	PathMetadata   = "/metadata/identity/oauth2/token"
)

// renewBefore is how much life a token that is given out again still has. Azure's
// libraries ask for another when it has less.
const renewBefore = 5 * time.Minute

// maxResource bounds the name of a resource in bytes, maxHeld the resources that tokens
// are held for.
const (
	maxResource = 256
	maxHeld     = 32
)

// ErrResource says that no token can be had for that resource.
var ErrResource = errors.New("no token for this resource")

// Token is an access token.
type Token struct {
	Access        string
	Begin, Expire time.Time
}

// Source gets tokens of the principal. An error that wraps ErrResource is the asker's.
type Source interface {
	Token(ctx context.Context, resource string) (*Token, error)
}

// Config is what a handler stands on; every field but Metadata and Address is required.
type Config struct {
	Source   Source
	ClientID string // of the principal
	Secret   string // that X-IDENTITY-HEADER must have
	// Metadata answers PathMetadata too. There is no secret there: every user of the
	// machine may then speak for the principal.
	Metadata bool
	// Address is the one that is listened on: requests name it, or a loopback address, as
	// their host and come from one of these.
	Address netip.Addr
	Now     func() time.Time
}

type handler struct {
	Config
	mu   sync.Mutex // held while asking, so that many askers ask once
	held map[string]*Token
}

// New makes the handler.
func New(c Config) (http.Handler, error) {
	if c.Source == nil || c.ClientID == "" || len(c.Secret) < 16 || c.Now == nil {
		return nil, errors.New("imds: a part is missing, or the secret is short")
	}
	return &handler{Config: c, held: map[string]*Token{}}, nil
}

// Indirect names a header that a request has which came through somebody, or out of a
// browser; "" when there is none. Sec-Fetch-Mode is not one: Node's fetch sends it.
func Indirect(h http.Header) string {
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "Via", "Origin", "Referer", "Sec-Fetch-Site"} {
		if len(h.Values(name)) > 0 {
			return name
		}
	}
	return ""
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !h.local(r) {
		refuse(w, http.StatusForbidden, "invalid_request", "this endpoint answers programs on this machine, which send no forwarding or browser headers")
		return
	}
	if r.Method != http.MethodGet {
		refuse(w, http.StatusMethodNotAllowed, "invalid_request", "GET only")
		return
	}
	metadata := false
	switch {
	case r.URL.Path == PathAppService:
		if v := r.Header.Values("X-Identity-Header"); len(v) != 1 || subtle.ConstantTimeCompare([]byte(v[0]), []byte(h.Secret)) != 1 {
			refuse(w, http.StatusUnauthorized, "unauthorized_client", "X-IDENTITY-HEADER is not the secret of this endpoint")
			return
		}
	case r.URL.Path == PathMetadata && h.Metadata:
		if v := r.Header.Values("Metadata"); len(v) != 1 || !strings.EqualFold(v[0], "true") {
			refuse(w, http.StatusBadRequest, "bad_request_102", "Required metadata header not specified")
			return
		}
		metadata = true
	default:
		refuse(w, http.StatusNotFound, "not_found", "no such path")
		return
	}
	h.answer(w, r, metadata)
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, metadata bool) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(r.URL.RawQuery) > 2048 {
		refuse(w, http.StatusBadRequest, "invalid_request", "the query is malformed or too long")
		return
	}
	resource, problem := h.judge(q)
	if problem != "" {
		refuse(w, http.StatusBadRequest, "invalid_request", problem)
		return
	}
	token, err := h.token(r.Context(), resource)
	switch {
	case errors.Is(err, ErrResource):
		refuse(w, http.StatusBadRequest, "invalid_resource", "no token can be had for this resource")
		return
	case err != nil:
		refuse(w, http.StatusBadGateway, "temporarily_unavailable", "the broker gives no token; the program that serves this endpoint said why")
		return
	}
	body := map[string]string{
		"access_token": token.Access, "expires_on": strconv.FormatInt(token.Expire.Unix(), 10), "resource": resource, "token_type": "Bearer", "client_id": h.ClientID,
	}
	if metadata { // numbers are strings there: Microsoft's own clients read nothing else
		body["refresh_token"], body["not_before"] = "", strconv.FormatInt(token.Begin.Unix(), 10)
		body["expires_in"] = strconv.FormatInt(max(0, int64(token.Expire.Sub(h.Now())/time.Second)), 10)
	}
	write(w, http.StatusOK, body)
}

// judge reads the query: one value each, a resource, and no other identity than ours.
func (h *handler) judge(q url.Values) (resource, problem string) {
	for name, values := range q {
		if len(values) != 1 {
			return "", "a parameter is given more than once"
		}
		switch name {
		case "client_id", "object_id", "principal_id":
			if values[0] != h.ClientID {
				return "", "Identity not found"
			}
		case "mi_res_id", "msi_res_id":
			return "", "Identity not found"
		}
	}
	resource = q.Get("resource")
	if q.Get("api-version") == "" || !strings.HasPrefix(resource, "https://") || len(resource) > maxResource {
		return "", "api-version and resource, an https URL, are required"
	}
	return resource, ""
}

// token gives one with enough life, the one it has or a new one.
func (h *handler) token(ctx context.Context, resource string) (*Token, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.held[resource]; t != nil && t.Expire.Sub(h.Now()) > renewBefore {
		return t, nil
	}
	t, err := h.Source.Token(ctx, strings.TrimSuffix(resource, "/"))
	if err != nil {
		return nil, err
	}
	if len(h.held) >= maxHeld {
		clear(h.held)
	}
	h.held[resource] = t
	return t, nil
}

// local says whether a program on this machine sent the request, to this endpoint by
// its address: a page whose name was pointed here has another Host.
func (h *handler) local(r *http.Request) bool {
	if Indirect(r.Header) != "" {
		return false
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !h.own(from.Addr().Unmap()) {
		return false
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(r.Host); err == nil {
		host = name
	}
	to, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && h.own(to)
}

// own says that an address is this endpoint's or a loopback address. Who connects to an
// address of his own machine comes from that address, and the kernel drops what comes
// from the network in its name.
func (h *handler) own(a netip.Addr) bool { return a.IsLoopback() || a == h.Address }

func refuse(w http.ResponseWriter, status int, code, text string) {
	write(w, status, map[string]string{"error": code, "error_description": text})
}

func write(w http.ResponseWriter, status int, body map[string]string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the asker is gone; there is nobody to tell
}
