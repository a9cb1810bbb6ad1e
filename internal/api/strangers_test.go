package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// TestStrangers is RB-01: whatever is wrong with a request that is not public, a
// stranger is told 401 and where to log in, and nothing else, on every host.
func TestStrangers(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Suffixes = []string{roleSuffix} })
	h.vaultWithObjects("own")
	before := len(h.store.Leaves)
	wrong := map[string]request{
		"as it should be": {},
		"HEAD":            {method: http.MethodHead},
		"OPTIONS":         {method: http.MethodOptions},
		"TRACE":           {method: http.MethodTrace},
		"no such method":  {method: "PROPFIND"},
		"not JSON":        {body: "<xml>", contentType: "text/xml"},
		"too large":       {body: strings.Repeat(" ", 2<<20)},
		"compressed":      {body: "{", header: map[string]string{"Content-Encoding": "gzip"}},
		"a bad token":     {header: map[string]string{"Authorization": "Bearer a.b.c"}},
		"two claims":      {header: map[string]string{"X-Forwarded-Host": "evil.example", "X-HTTP-Method-Override": "GET"}},
	}
	for _, r := range h.handler.(*funnel).routes() {
		for _, host := range []string{testHost, "own." + roleSuffix, "nowhere." + roleSuffix} {
			for name, req := range wrong {
				if req.method == "" {
					if r.Access == route.Public {
						continue
					}
					req.method = r.Method
				}
				req.host = host
				path, query, _ := strings.Cut(concrete(r.Path), "?")
				for _, q := range []string{"", "?" + query, "?api-version=7.4&api-version=7.5", "?%zz"} {
					req.path = path + q
					if _, err := http.NewRequest(req.method, "https://"+host+req.path, nil); err != nil {
						continue
					}
					w := h.do(req)
					if w.Code != http.StatusUnauthorized || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), `Bearer authorization="https://`+host+"/"+testDeployment+`"`) {
						t.Errorf("%s, %s: %s %s%s: %d %s", r.Name, name, req.method, host, req.path, w.Code, w.Body)
					}
				}
			}
		}
	}
	if len(h.store.Leaves) != before {
		t.Errorf("strangers made %d records", len(h.store.Leaves)-before)
	}
}

// TestEveryActionIsHad: every route's action is one that some role has, and the other
// way round; and nobody but an administrator of identities can reach another's secret.
func TestEveryActionIsHad(t *testing.T) {
	h := newHarness(t)
	var asked, had []identity.Action
	for _, r := range h.handler.(*funnel).routes() {
		asked = append(asked, r.Action)
	}
	for _, r := range identity.Roles() {
		had = append(had, r.Actions...)
		if slices.Contains(r.Actions, identity.PrincipalsWrite) && (r.Name != identity.RoleIdentityAdmin || !slices.Contains(r.Actions, identity.RolesWrite)) {
			t.Errorf("%s can take principals over", r.Name)
		}
	}
	for _, a := range asked {
		if a != "" && !slices.Contains(had, a) {
			t.Errorf("no role allows %s", a)
		}
	}
	for _, a := range had {
		if !slices.Contains(asked, a) {
			t.Errorf("nothing asks for %s", a)
		}
	}
}

// TestPrincipalAPI: made without rights, shown without what proves it.
func TestPrincipalAPI(t *testing.T) {
	h, _, token := roleHarness(t)
	ask := func(method, path, body string) request {
		return request{method: method, path: path, body: body, token: token}
	}
	var made struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	h.ok("create", h.do(ask(http.MethodPost, "/v1/principals", `{"name":"web","certificates":[{"san":"dns:web.example"}],"federated":[{"issuer":"https://i.example","subject":"s","audience":"a"}]}`)), &made)
	if rec := h.lastRecord(); rec.Operation != identity.OpCreatePrincipal || rec.Object != made.ID || made.Secret == "" {
		t.Errorf("%+v", rec)
	}
	one := "/v1/principals/" + made.ID
	w := h.do(ask(http.MethodGet, one, ""))
	if s := w.Body.String(); !strings.Contains(s, `"has_secret":true`) || !strings.Contains(s, "dns:web.example") || strings.Contains(s, made.Secret) || strings.Contains(s, "salt") || strings.Contains(s, "hash") {
		t.Error(s)
	}
	h.ok("proofs", h.do(ask(http.MethodPatch, one, `{"certificates":[]}`)), nil)
	if s := h.do(ask(http.MethodGet, one, "")).Body.String(); !strings.Contains(s, `"certificates":[]`) || !strings.Contains(s, "i.example") {
		t.Error(s)
	}
	old := made.Secret
	h.ok("reset", h.do(ask(http.MethodPost, one+"/secret", "")), &made)
	login := func(secret string) error {
		_, err := h.ids.Token(t.Context(), &identity.TokenRequest{GrantType: "client_credentials", ClientID: made.ID, ClientSecret: secret})
		return err
	}
	if login(old) == nil || login(made.Secret) != nil {
		t.Error("the secrets after a reset")
	}
	for name, c := range map[string]struct {
		r      request
		status int
		reason release.Reason
	}{
		"look-alike name": {ask(http.MethodPost, "/v1/principals", `{"name":"аdmin"}`), 400, release.ReasonBadRequest},
		"bad SAN":         {ask(http.MethodPost, "/v1/principals", `{"name":"x","certificates":[{"san":"dns:*"}]}`), 400, release.ReasonBadRequest},
		"own id":          {ask(http.MethodPost, "/v1/principals", `{"name":"x","id":"y"}`), 400, release.ReasonUnknownMember},
		"nothing":         {ask(http.MethodPatch, one, `{}`), 400, release.ReasonBadRequest},
		"both":            {ask(http.MethodPatch, one, `{"enabled":true,"federated":[]}`), 400, release.ReasonBadRequest},
		"unknown":         {ask(http.MethodDelete, "/v1/principals/"+someone, ""), 404, release.ReasonNotFound},
		"no UUID":         {ask(http.MethodGet, "/v1/principals/admin", ""), 404, release.ReasonNotFound},
	} {
		h.want(name, h.do(c.r), c.status, c.reason)
	}
	h.ok("delete", h.do(ask(http.MethodDelete, one, "")), nil)
	h.want("gone", h.do(ask(http.MethodGet, one, "")), http.StatusNotFound, release.ReasonNotFound)
	if login(made.Secret) == nil {
		t.Error("a deleted principal logs in")
	}
}
