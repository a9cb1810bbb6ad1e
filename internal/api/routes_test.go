package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// concrete fills the parameters of a pattern in.
func concrete(path string) string {
	return strings.NewReplacer(
		":deployment", testDeployment, ":name", "k", ":version", strings.Repeat("0", 32), ":id", "00000000-0000-4000-8000-000000000001", ":set", "web", ":index", "0",
	).Replace(path) + "?api-version=7.4"
}

// TestOnlyListedRoutesArePublic walks the router itself, not the table it was made
// from: whatever answers a stranger with anything but 401 is in the list, which has no
// route that initialises, recovers or rekeys (RB-16).
func TestOnlyListedRoutesArePublic(t *testing.T) {
	for _, logIsPublic := range []bool{false, true} {
		h := newHarness(t, func(c *Config) { c.PublicLog = logIsPublic })
		public := slices.Clone(publicRoutes)
		if logIsPublic {
			public = append(public, publicLog...)
		}
		for _, r := range h.handler.(*funnel).router.Routes() {
			if r.Method == echo.RouteNotFound {
				continue
			}
			w := h.do(request{method: r.Method, path: strings.Split(concrete(r.Path), "?")[0]})
			listed := slices.Contains(public, r.Method+" "+r.Path)
			if (w.Code != http.StatusUnauthorized) != listed {
				t.Errorf("public log %v: %s %s answers a stranger %d, listed as public: %v", logIsPublic, r.Method, r.Path, w.Code, listed)
			}
		}
		if n := len(h.handler.(*funnel).router.Routes()); n < 50 {
			t.Errorf("only %d routes walked", n)
		}
	}
}

// TestUnauthorized is RB-01: every route that is not public, with each kind of bad
// credential, answers 401 with a challenge, and before it looks at anything else.
func TestUnauthorized(t *testing.T) {
	h := newHarness(t)
	good := h.token(identity.RoleAdministrator)
	stale := newHarness(t).token(identity.RoleAdministrator) // another deployment's key
	for _, r := range h.handler.(*funnel).routes() {
		if r.Access == route.Public {
			continue
		}
		for name, auth := range map[string]string{
			"none": "", "empty": "Bearer ", "no scheme": good, "basic": "Basic " + good, "two blanks": "Bearer  " + good,
			"garbage": "Bearer a.b.c", "other key": "Bearer " + stale, "control": "Bearer a\x01b", "cut": "Bearer " + good[:len(good)-1],
		} {
			hdr := map[string]string{"Authorization": auth}
			if auth == "" {
				hdr = nil
			}
			// a body that is wrong in every way must not be noticed before the token
			w := h.do(request{method: r.Method, path: strings.Split(concrete(r.Path), "?")[0], body: "<xml>", contentType: "text/xml", header: hdr})
			h.want(r.Name+" "+name, w, http.StatusUnauthorized, release.ReasonUnauthorized)
			if got, want := w.Header().Get("WWW-Authenticate"), `Bearer authorization="https://kv1.vault.local:8443/d1", resource="https://vault.local:8443"`; got != want {
				t.Fatalf("challenge %s, want %s", got, want)
			}
		}
	}
	if h.store.Counted[release.ReasonUnauthorized] == 0 || len(h.store.Leaves) != 0 {
		t.Error("refusals of strangers must be counted, and only counted")
	}
}

// TestMatrix is RB-02 and RB-05: operation × role, generated from the table; the roles table
// is the expectation. A role that may not is told so before anything is looked up.
func TestMatrix(t *testing.T) {
	h := newHarness(t)
	held := map[string][]identity.Action{"": nil}
	for _, r := range identity.Roles() {
		held[r.Name] = r.Actions
	}
	for _, r := range h.handler.(*funnel).routes() {
		if r.Access == route.Public {
			continue
		}
		for role, actions := range held {
			before := len(h.store.Leaves)
			w := h.do(request{method: r.Method, path: concrete(r.Path), token: h.token(role), body: "{"})
			name := fmt.Sprintf("%s %s by %q", r.Method, r.Path, role)
			allowed := r.Access == route.Role && slices.Contains(actions, r.Action)
			switch {
			case r.Access == route.Anyone:
				h.want(name, w, http.StatusForbidden, release.ReasonNotOffered)
			case r.Access == route.Proven: // whatever the role
				h.want(name, w, http.StatusBadRequest, release.ReasonBadRequest)
			case allowed:
				if _, reason := h.refusal(w); reason == string(release.ReasonForbidden) {
					t.Errorf("%s: refused", name)
				}
			default:
				h.want(name, w, http.StatusForbidden, release.ReasonForbidden)
				if len(h.store.Leaves) != before+1 || h.lastRecord().Decision != "deny" || h.lastRecord().Operation != r.Name {
					t.Errorf("%s: no record of the refusal", name)
				}
			}
		}
	}
}

// TestUnknownRoutes: a stranger learns nothing about what exists.
func TestUnknownRoutes(t *testing.T) {
	h := newHarness(t)
	for _, path := range []string{"/", "/nothing", "/keys/k/v/nothing", "/v1/nothing", "/v1/machines/a/b", "/admin"} {
		h.want("stranger "+path, h.do(request{method: http.MethodGet, path: path}), http.StatusUnauthorized, release.ReasonUnauthorized)
		h.want("principal "+path, h.get(path, identity.RoleReader), http.StatusNotFound, release.ReasonNotFound)
	}
	h.want("stranger, method", h.do(request{method: http.MethodDelete, path: "/v1/release"}), http.StatusUnauthorized, release.ReasonUnauthorized)
	h.want("principal, method", h.send(http.MethodDelete, "/v1/release", identity.RoleReader, ""), http.StatusMethodNotAllowed, release.ReasonMethod)
}

// TestMethods is AP-13.
func TestMethods(t *testing.T) {
	h := newHarness(t)
	for _, m := range []string{http.MethodHead, http.MethodTrace, http.MethodOptions, "CONNECT", "PROPFIND", "get"} {
		h.want(m, h.do(request{method: m, path: "/keys", token: h.token(identity.RoleReader)}), http.StatusMethodNotAllowed, release.ReasonMethod)
	}
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
		w := h.do(request{method: http.MethodGet, path: "/keys?api-version=7.4", token: h.token(identity.RoleReader), header: map[string]string{name: "DELETE"}})
		h.ok(name, w, nil)
	}
}

// A table that lets in more than the list says does not start.
func TestCheckRoute(t *testing.T) {
	good := func() *route.Route {
		return &route.Route{
			Method: http.MethodGet, Path: "/x", Name: "x", Door: release.DoorNative, Access: route.Role, Action: identity.KeysRead,
			Do: refusing("x", release.ReasonNotFound, "").Do,
		}
	}
	if err := checkRoute(good(), false); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*route.Route){
		"public, not listed":    func(r *route.Route) { r.Access, r.Action, r.Cost = route.Public, "", 1 },
		"nobody":                func(r *route.Route) { r.Access, r.Action = route.Nobody, "" },
		"role without action":   func(r *route.Route) { r.Action = "" },
		"no handler":            func(r *route.Route) { r.Do = nil },
		"no body limit":         func(r *route.Route) { r.Body = route.JSON },
		"listed, not public":    func(r *route.Route) { r.Path = "/healthz" },
		"public without a cost": func(r *route.Route) { r.Path, r.Access, r.Action = "/healthz", route.Public, "" },
		"log without setting": func(r *route.Route) {
			r.Path, r.Access, r.Action, r.Cost = "/v1/log/checkpoint", route.Public, "", 1
		},
	} {
		r := good()
		change(r)
		if checkRoute(r, false) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestConfigIsComplete(t *testing.T) {
	h := newHarness(t)
	for name, change := range map[string]func(*Config){
		"broker": func(c *Config) { c.Broker = nil }, "log": func(c *Config) { c.Log = nil }, "identity": func(c *Config) { c.Identity = nil },
		"hosts": func(c *Config) { c.Hosts = nil }, "host with path": func(c *Config) { c.Hosts = []string{"a/b"} },
		"host with quote": func(c *Config) { c.Hosts = []string{`a"`} }, "deployment": func(c *Config) { c.Deployment = `a", x="` },
	} {
		c := h.config
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
