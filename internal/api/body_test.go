package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// TestMediaTypes is AP-09: JSON is called JSON, or nothing is read.
func TestMediaTypes(t *testing.T) {
	h := newHarness(t)
	for _, typ := range []string{
		"application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/xml", "application/yaml", "text/plain", "application/json; charset=latin1",
		"application/jsonp", "application/json, text/xml", "application/json; x=y", "*/*", ";",
	} {
		h.want(typ, h.do(request{method: http.MethodPost, path: "/v1/challenge", body: challengeBody, contentType: typ}), http.StatusUnsupportedMediaType, release.ReasonMediaType)
	}
	for _, typ := range []string{"application/json", "Application/JSON; charset=UTF-8"} {
		h.ok(typ, h.do(request{method: http.MethodPost, path: "/v1/challenge", body: challengeBody, contentType: typ}), nil)
	}
	req := httptest.NewRequest(http.MethodPost, "https://"+testHost+"/v1/challenge", strings.NewReader(challengeBody))
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, req)
	h.want("none", w, http.StatusUnsupportedMediaType, release.ReasonMediaType)
	w = h.do(request{method: http.MethodPost, path: "/d1/oauth2/v2.0/token", body: "{}", contentType: "application/json"})
	if w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("token endpoint took JSON: %d", w.Code)
	}
}

// TestSizes is AP-08: limits hold with and without a length, and nothing is inflated.
func TestSizes(t *testing.T) {
	h := newHarness(t)
	for _, r := range h.handler.(*funnel).routes() {
		if r.Body == route.NoBody {
			continue
		}
		typ := map[route.Body]string{route.JSON: "application/json", route.Form: "application/x-www-form-urlencoded"}[r.Body]
		over := strings.Repeat(" ", r.Limit+1)
		for name, length := range map[string]int64{"declared": int64(len(over)), "chunked": -1} {
			req := httptest.NewRequest(r.Method, "https://"+testHost+concrete(r.Path), io.NopCloser(strings.NewReader(over)))
			if r.Access == route.Public {
				req.URL.RawQuery = ""
			}
			req.ContentLength = length
			req.Header.Set("Content-Type", typ)
			for _, role := range identity.Roles() {
				if slices.Contains(role.Actions, r.Action) {
					req.Header.Set("Authorization", "Bearer "+h.token(role.Name))
				}
			}
			w := httptest.NewRecorder()
			h.handler.ServeHTTP(w, req)
			if w.Code != http.StatusRequestEntityTooLarge {
				t.Errorf("%s %s, %s: %d", r.Method, r.Path, name, w.Code)
			}
		}
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := z.Write([]byte(challengeBody))
	h.must(err)
	h.must(z.Close())
	for _, enc := range []string{"gzip", "deflate", "br", "zstd", "identity", "x"} {
		w := h.do(request{method: http.MethodPost, path: "/v1/challenge", body: bomb.String(), header: map[string]string{"Content-Encoding": enc}})
		h.want(enc, w, http.StatusUnsupportedMediaType, release.ReasonMediaType)
	}
	h.want("no body", h.do(request{method: http.MethodPost, path: "/v1/challenge"}), http.StatusBadRequest, release.ReasonBadRequest)
	h.want("body of a GET", h.do(request{method: http.MethodGet, path: "/healthz", body: "{}"}), http.StatusBadRequest, release.ReasonBadRequest)
	broken := httptest.NewRequest(http.MethodPost, "https://"+testHost+"/v1/challenge", io.MultiReader(strings.NewReader("{"), errReader{}))
	broken.ContentLength = -1
	broken.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, broken)
	h.want("body that breaks off", w, http.StatusBadRequest, release.ReasonBadRequest)
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestNoSideDoor is RB-04: a member, parameter or header cannot name another object
// than the path does.
func TestNoSideDoor(t *testing.T) {
	h := newHarness(t)
	role := identity.RoleAdministrator
	for _, body := range []string{
		`{"kty":"EC","name":"other"}`, `{"kty":"EC","vault":"other","version":"0"}`, `{"kty":"EC","id":"other","kid":"https://x/keys/other"}`,
	} {
		w := h.send(http.MethodPost, "/keys/k/create?api-version=7.4&name=other&version=other", role, body)
		if w.Code == http.StatusOK && h.lastRecord().Object != "k" {
			t.Errorf("%s: acted on %q", body, h.lastRecord().Object)
		}
	}
	h.want("other", h.get("/keys/other?api-version=7.4", role), http.StatusNotFound, release.ReasonNotFound)
}

// TestAPIVersions is AP-15.
func TestAPIVersions(t *testing.T) {
	h := newHarness(t)
	for _, q := range []string{"", "?api-version=", "?api-version=8", "?api-version=7.4x", "?api-version=7.4&api-version=7.4", "?API-VERSION=7.4", "?api-version=%zz", "?api-version=7.4;x"} {
		h.want(q, h.get("/keys"+q, identity.RoleReader), http.StatusBadRequest, release.ReasonBadRequest)
	}
	for _, q := range []string{"7.0", "7.4-preview.1", "7.2-preview", "2025-07-01", "2016-10-01", "2025-06-01-preview"} {
		h.ok(q, h.get("/keys?api-version="+q, identity.RoleReader), nil)
	}
	h.ok("as JavaScript sends it", h.get("/keys?api%2Dversion=2025-07-01", identity.RoleReader), nil)
}

func (h *harness) tokenRequest(path string, form url.Values) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.do(request{method: http.MethodPost, path: path, body: form.Encode(), contentType: "application/x-www-form-urlencoded"})
}

func TestTokenEndpoint(t *testing.T) {
	h := newHarness(t)
	id, secret := h.principal("cli", identity.RoleReader)
	form := func() url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "scope": {"https://vault.local:8443/.default"}}
	}
	for _, path := range []string{"/d1/oauth2/v2.0/token", "/d1/oauth2/token"} {
		var tok identity.Token
		h.ok(path, h.tokenRequest(path, form()), &tok)
		if tok.Type != "Bearer" || tok.Expires != 3600 {
			t.Errorf("%+v", tok)
		}
		h.ok("use", h.do(request{method: http.MethodGet, path: "/keys?api-version=7.4", token: tok.Access}), nil)
	}
	var bodies []string
	for name, change := range map[string]func(url.Values){
		"secret": func(f url.Values) { f.Set("client_secret", "x") }, "id": func(f url.Values) { f.Set("client_id", "00000000-0000-4000-8000-000000000000") },
	} {
		f := form()
		change(f)
		w := h.tokenRequest("/d1/oauth2/v2.0/token", f)
		if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), `"error":"invalid_client"`) || strings.Contains(w.Body.String(), secret) {
			t.Errorf("wrong %s: %d %s", name, w.Code, w.Body)
		}
		bodies = append(bodies, strings.ReplaceAll(w.Body.String(), w.Header().Get("x-ms-request-id"), ""))
	}
	if bodies[0] != bodies[1] {
		t.Errorf("an unknown id and a wrong secret are told apart:\n%s\n%s", bodies[0], bodies[1])
	}
	if h.store.Counted[release.ReasonUnauthorized] != 2 || strings.Contains(h.logged.String(), secret) {
		t.Error("refusals are counted, secrets are not logged")
	}
	f := form()
	f.Set("scope", "https://vault.evil.example/.default")
	if w := h.tokenRequest("/d1/oauth2/v2.0/token", f); w.Code != http.StatusBadRequest {
		t.Errorf("foreign resource: %d", w.Code)
	}
	if w := h.tokenRequest("/other/oauth2/v2.0/token", form()); w.Code != http.StatusNotFound {
		t.Errorf("other tenant: %d", w.Code)
	}
}

// TestPanic is DS-13: a panic answers 500 with an id, and the next request is served.
func TestPanic(t *testing.T) {
	h := newHarness(t)
	h.broker.do = func(context.Context) (*release.Released, error) { panic("SECRET") }
	w := h.do(request{method: http.MethodPost, path: "/v1/release", body: releaseBody})
	h.want("panic", w, http.StatusInternalServerError, release.ReasonInternal)
	if strings.Contains(w.Body.String(), "SECRET") || !strings.Contains(h.logged.String(), w.Header().Get("x-ms-request-id")) {
		t.Error("the operator gets the panic, the caller its id")
	}
	if h.config.Metrics == nil || h.handler.(*funnel).Gate.Depth() != 0 {
		t.Error("the panic holds a slot of the gate")
	}
	h.broker.do = nil
	h.ok("next", h.do(request{method: http.MethodPost, path: "/v1/release", body: releaseBody}), nil)
}

// TestErrors is AP-21: no text of the inside, and a reason for every class.
func TestErrors(t *testing.T) {
	h := newHarness(t)
	for reason, class := range release.Reasons() {
		h.broker.do = func(context.Context) (*release.Released, error) {
			return nil, release.Refuse(reason, "SELECT secret FROM /var/lib <script>")
		}
		w := h.do(request{method: http.MethodPost, path: "/v1/release", body: releaseBody})
		h.want(string(reason), w, int(class), reason)
		if strings.ContainsAny(w.Body.String(), "<>") || strings.Contains(w.Body.String(), "SELECT") {
			t.Errorf("%s: %s", reason, w.Body)
		}
		if late := class == release.ClassUnavailable || class == release.ClassThrottled; late != (w.Header().Get("Retry-After") != "") {
			t.Errorf("%s: Retry-After %q", reason, w.Header().Get("Retry-After"))
		}
	}
	for _, err := range []error{errDisk, errors.Join(errDisk, context.Canceled), &release.Error{Reason: "no_such_reason"}} {
		h.broker.do = func(context.Context) (*release.Released, error) { return nil, err }
		if w := h.do(request{method: http.MethodPost, path: "/v1/release", body: releaseBody}); w.Code < 500 {
			t.Errorf("%v: %d", err, w.Code)
		}
	}
}

type unspeakable struct{}

func (unspeakable) Explain(context.Context, release.ReleasePolicy, []byte) (any, error) {
	return make(chan int), nil
}

// An answer that cannot be encoded is a failure, not an empty success.
func TestAnswerThatCannotBeEncoded(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Policies = unspeakable{} })
	h.create("k", `{"kty":"EC","attributes":{"exportable":true},"release_policy":`+regoPolicy("")+`}`)
	key := h.lastRecord()
	_, err := h.store.Append(t.Context(), release.Entry{Record: &release.Record{
		V: 1, Kind: "release", Decision: "deny", Reason: "policy_denied", Vault: key.Vault, Object: "k", Version: key.Version, Policy: key.Policy, Input: digestOf("{}"),
	}})
	h.must(err)
	h.log.inputs[1] = []byte("{}")
	h.log.policies[key.Policy] = &release.ReleasePolicy{}
	h.want("channel", h.get("/v1/log/decisions/1", identity.RoleAuditor), http.StatusInternalServerError, release.ReasonInternal)
}

// TestRefusalNeedsRecord: when the refusal of a principal cannot be recorded, the
// answer is that the log is not there (503), never a success.
func TestRefusalNeedsRecord(t *testing.T) {
	h := newHarness(t)
	tok := h.token("")
	h.store.Fault = func(*release.Record) error {
		return &release.Error{Reason: release.ReasonLogUnavailable, Err: errDisk, Retry: 7}
	}
	w := h.do(request{method: http.MethodGet, path: "/keys?api-version=7.4", token: tok})
	h.want("disk full", w, http.StatusServiceUnavailable, release.ReasonLogUnavailable)
	if w.Header().Get("Retry-After") != "7" {
		t.Errorf("Retry-After %s", w.Header().Get("Retry-After"))
	}
}

// TestHeaders: what every answer says, and what of the caller's is repeated.
func TestHeaders(t *testing.T) {
	h := newHarness(t)
	for id, want := range map[string]string{
		"0f8fad5b-d9cb-469f-a165-70867728950e": "0f8fad5b-d9cb-469f-a165-70867728950e",
		"a b":                                  "", "<script>": "", strings.Repeat("a", 65): "", "a\u00e9": "",
	} {
		w := h.do(request{method: http.MethodGet, path: "/healthz", header: map[string]string{"x-ms-client-request-id": id, "x-ms-request-id": "chosen"}})
		hd := w.Header()
		if hd.Get("x-ms-client-request-id") != want || hd.Get("x-ms-request-id") == "chosen" || len(hd.Get("x-ms-request-id")) != 36 ||
			hd.Get("Cache-Control") != "no-store" || hd.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%q: %v", id, hd)
		}
	}
}

func FuzzBearer(f *testing.F) {
	f.Add("Bearer a.b.c")
	f.Add("bearer  x")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := bearer([]string{s})
		if err == nil && (tok == "" || strings.ContainsAny(tok, " \t\r\n,\"\x00")) {
			t.Fatalf("%q gives %q", s, tok)
		}
		if _, err := bearer([]string{s, s}); err == nil {
			t.Fatal("two headers")
		}
	})
}

// FuzzBodies throws garbage at every route that takes a body, by a caller that may
// use it: an answer of a known class, and no panic.
func FuzzBodies(f *testing.F) {
	h := newHarness(f)
	var routes []*route.Route
	for _, r := range h.handler.(*funnel).routes() {
		if r.Body != route.NoBody {
			routes = append(routes, r)
		}
	}
	h.machine("m1", release.MachinePending)
	for i, body := range []string{
		releaseBody, challengeBody, `{"begin":{}}`, `{"status":"denied"}`, `{"proof":"AA"}`, "grant_type=client_credentials",
		`{"kty":"EC","attributes":{"enabled":true},"tags":{"a":"b"}}`, `{"key":{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAA"},"Hsm":true}`,
	} {
		f.Add(uint8(i), body)
	}
	h.create("k", `{"kty":"oct"}`) // concrete paths name it
	for i, r := range routes {
		if r.Queue == route.Deciding && r.Door == release.DoorKeyVault {
			f.Add(uint8(i), `{"alg":"A256GCM","value":"AAAA","iv":"AAAAAAAAAAAAAAAA","tag":"AAAAAAAAAAAAAAAAAAAAAA","aad":"AA=="}`)
			f.Add(uint8(i), `{"alg":"A256KW","Value":"AAAAAAAAAAAAAAAAAAAAAA","digest":null}`)
			f.Add(uint8(i), `{"count":128}`)
		}
	}
	all := h.token(identity.RoleAdministrator)
	machines := h.token(identity.RoleMachineOperator)
	f.Fuzz(func(t *testing.T, n uint8, body string) {
		h.t = t
		r := routes[int(n)%len(routes)]
		typ := map[route.Body]string{route.JSON: "application/json", route.Form: "application/x-www-form-urlencoded"}[r.Body]
		tok := map[bool]string{true: machines, false: all}[r.Action == identity.MachinesWrite || r.Action == identity.ReferencesWrite]
		path := concrete(r.Path)
		if r.Door == release.DoorNative {
			path = strings.Split(path, "?")[0]
		}
		w := h.do(request{method: r.Method, path: path, body: body, contentType: typ, token: tok})
		if codes[release.Class(w.Code)] == "" && w.Code != http.StatusOK || w.Code == http.StatusInternalServerError {
			t.Fatalf("%s %s: %d %s", r.Method, path, w.Code, w.Body)
		}
	})
}
