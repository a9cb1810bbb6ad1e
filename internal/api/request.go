package api

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

// authenticate lets the caller through to the route, or says why not. Nothing
// about the request but its address and its Authorization is looked at.
func (f *funnel) authenticate(req *http.Request, r *route.Route, c *route.Call) error {
	now := f.Now()
	switch r.Access {
	case route.Public:
		if !f.limits.take(c.Source, r.Cost, now) {
			return throttled()
		}
		return nil
	case route.Role, route.Anyone, route.Proven:
	default:
		return release.Refuse(release.ReasonInternal, "route %s says nobody may call it", r.Name)
	}
	if f.limits.spent(c.Source, now) { // before any cryptography
		return throttled()
	}
	caller, err := f.principal(req)
	if err != nil {
		f.limits.take(c.Source, 1, now)
		return err
	}
	c.Caller = caller
	if err := f.admitted(caller, r, c); err != nil {
		return err
	}
	if scope := c.Scope(r); r.Access == route.Role && !caller.May(r.Action, scope) {
		return release.Refuse(release.ReasonForbidden, "principal %s (%s) has no role that allows %s there", caller.ID, caller.Name, r.Action)
	}
	return nil
}

func throttled() error {
	return &release.Error{Reason: release.ReasonThrottled, Err: errors.New("rate of this source used up"), Retry: 1}
}

// principal proves who calls: by token, by the client certificate of the connection, or
// by both, which must then agree.
func (f *funnel) principal(req *http.Request) (*identity.Caller, error) {
	var chain []*x509.Certificate
	if req.TLS != nil {
		chain = req.TLS.PeerCertificates
	}
	headers := req.Header.Values("Authorization")
	if len(chain) > 0 && len(headers) == 0 {
		// A browser shows its user's certificate whoever made the page that asks.
		if err := new(http.CrossOriginProtection).Check(req); err != nil {
			return nil, release.Refuse(release.ReasonUnauthorized, "client certificate alone: %w", err)
		}
		return f.Identity.AuthenticateCertificate(req.Context(), chain)
	}
	token, err := bearer(headers)
	if err != nil {
		return nil, err
	}
	if len(chain) > 0 {
		return f.Identity.AuthenticateBoth(req.Context(), token, chain)
	}
	return f.Identity.Authenticate(req.Context(), token)
}

// bearer takes the token out of the one Authorization header: the scheme in any
// case, one space, and a token of the characters of a compact JWS.
func bearer(values []string) (string, error) {
	if len(values) != 1 {
		return "", release.Refuse(release.ReasonUnauthorized, "%d Authorization headers", len(values))
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > jose.MaxToken {
		return "", release.Refuse(release.ReasonUnauthorized, "Authorization is not a bearer token of at most %d bytes", jose.MaxToken)
	}
	for _, b := range []byte(token) {
		if (b < '0' || b > '9') && (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && b != '-' && b != '_' && b != '.' {
			return "", release.Refuse(release.ReasonUnauthorized, "bearer token has a byte %#02x", b)
		}
	}
	return token, nil
}

// readAhead bounds the memory that a body is given before it came.
const readAhead = 16 << 10

// readBody reads what the route accepts, after the caller was let through. No
// content encoding is ever undone: a bomb is refused by its header.
func (f *funnel) readBody(w http.ResponseWriter, req *http.Request, r *route.Route, c *route.Call) error {
	if enc := req.Header.Values("Content-Encoding"); len(enc) > 0 {
		return release.Refuse(release.ReasonMediaType, "Content-Encoding %.32q", enc)
	}
	if req.ContentLength == 0 {
		if r.Body == route.NoBody || r.Optional {
			return nil
		}
		return release.Refuse(release.ReasonBadRequest, "%s needs a body", r.Name)
	}
	if r.Body == route.NoBody {
		return release.Refuse(release.ReasonBadRequest, "%s takes no body", r.Name)
	}
	if err := mediaType(req, r.Body); err != nil {
		return err
	}
	if req.ContentLength > int64(r.Limit) {
		return release.Refuse(release.ReasonTooLarge, "body of %d bytes, limit %d", req.ContentLength, r.Limit)
	}
	ahead := min(max(req.ContentLength, 0), readAhead)
	if r.Secret { // to grow would leave a copy behind, and whoever sends it is proven
		if ahead = req.ContentLength; ahead < 0 {
			ahead = int64(r.Limit)
		}
	}
	var buf bytes.Buffer
	buf.Grow(int(ahead) + bytes.MinRead)
	_, err := buf.ReadFrom(http.MaxBytesReader(w, req.Body, int64(r.Limit)))
	body := buf.Bytes()
	if r.Secret && err != nil { // else the handler clears it
		clear(body[:cap(body)])
	}
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return release.Refuse(release.ReasonTooLarge, "body over %d bytes", r.Limit)
	case err != nil:
		return release.Refuse(release.ReasonBadRequest, "body not read: %w", err)
	case len(body) == 0 && !r.Optional:
		return release.Refuse(release.ReasonBadRequest, "%s needs a body", r.Name)
	}
	c.Body = body
	if !r.Secret {
		c.Digest = sha256.Sum256(body)
	}
	return nil
}

func mediaType(req *http.Request, body route.Body) error {
	want := map[route.Body]string{route.JSON: "application/json", route.Form: "application/x-www-form-urlencoded"}[body]
	values := req.Header.Values("Content-Type")
	if len(values) != 1 {
		return release.Refuse(release.ReasonMediaType, "%d Content-Type headers, want %s", len(values), want)
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err != nil || media != want {
		return release.Refuse(release.ReasonMediaType, "Content-Type %.64q, want %s", values[0], want)
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") { // another would change how the body reads
			return release.Refuse(release.ReasonMediaType, "Content-Type parameter %.32q", name)
		}
	}
	return nil
}

// apiVersion is lenient about which version (wire format: §1.8), not about having one.
var apiVersion = regexp.MustCompile(`^(7\.\d(-preview(\.\d)?)?|20\d{2}-\d{2}-\d{2}(-preview)?)$`)

// readQuery decodes the query once and holds it against the route. A parameter
// given twice is refused: two readers would take different ones.
func readQuery(req *http.Request, r *route.Route, c *route.Call) error {
	raw := req.URL.RawQuery
	q, err := url.ParseQuery(raw)
	if err != nil || len(raw) > 4096 {
		return release.Refuse(release.ReasonBadRequest, "query of %d bytes is malformed or too long", len(raw))
	}
	for name, values := range q {
		if len(values) != 1 {
			return release.Refuse(release.ReasonBadRequest, "query parameter %.32q given %d times", name, len(values))
		}
		if r.Door != release.DoorKeyVault && !slices.Contains(r.Query, name) { // clients of Key Vault add their own
			return release.Refuse(release.ReasonBadRequest, "query parameter %.32q is not of %s", name, r.Name)
		}
	}
	if v := q.Get("api-version"); r.Door == release.DoorKeyVault && !apiVersion.MatchString(v) {
		return release.Refuse(release.ReasonBadRequest, "api-version %.32q is missing or unknown, want one like 7.4 or 2025-07-01", v)
	}
	c.Query = q
	return nil
}
