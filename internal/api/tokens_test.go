package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/api/tokens"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
)

// TestTokenDiscovery: the documents that Azure's libraries read lead to endpoints that
// are there, on the host that was asked.
func TestTokenDiscovery(t *testing.T) {
	h := newHarness(t)
	id, secret := h.principal("app", identity.RoleReader)
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "client_info": {"1"},
		"scope": {"https://vault.local:8443/.default openid offline_access profile"},
	}.Encode()
	for path, tenant := range map[string]string{
		"/adfs/.well-known/openid-configuration":                         "/adfs",
		"/adfs/adfs/.well-known/openid-configuration":                    "/adfs",
		"/" + testDeployment + "/.well-known/openid-configuration":       "/" + testDeployment + "/v2.0",
		"/" + testDeployment + "/v2.0/.well-known/openid-configuration":  "/" + testDeployment + "/v2.0",
		"/adfs/.well-known/openid-configuration?api-version=1.0":         "/adfs",
		"/d1/v2.0/.well-known/openid-configuration?api-version=2020-1-1": "/d1/v2.0",
	} {
		var d tokens.Discovery
		h.ok(path, h.do(request{method: http.MethodGet, path: path}), &d)
		base := "https://" + testHost
		if d.Issuer != base+tenant || d.AccessIssuer != h.ids.Issuer() || d.Authorization == "" || d.Device == "" {
			t.Errorf("%s: %+v", path, d)
		}
		var tok identity.Token
		h.ok(d.Token, h.do(request{method: http.MethodPost, path: strings.TrimPrefix(d.Token, base) + "?client-request-id=1", body: form, contentType: "application/x-www-form-urlencoded"}), &tok)
		h.ok("the token", h.do(request{method: http.MethodGet, path: "/keys?api-version=7.4", token: tok.Access}), nil)
		var set jose.ECKeySet
		h.ok(d.Keys, h.do(request{method: http.MethodGet, path: strings.TrimPrefix(d.Keys, base)}), &set)
		raw, err := json.Marshal(set)
		h.must(err)
		keys, err := jose.ParseKeySet(raw)
		h.must(err)
		f, err := jose.SplitForeign(tok.Access, jose.MaxToken)
		h.must(err)
		if key, ok := f.Find(keys); !ok || f.Verify(key, []string{"ES256"}) != nil {
			t.Errorf("%s: the published keys do not verify the token", path)
		}
	}
	for _, path := range []string{"/d2/v2.0/.well-known/openid-configuration", "/common/.well-known/openid-configuration", "/d2/discovery/v2.0/keys"} {
		h.want(path, h.do(request{method: http.MethodGet, path: path}), http.StatusNotFound, release.ReasonNotFound)
	}
}

// What `az login` asks in the end, it asks as the principal that it logged in.
func TestSubscriptions(t *testing.T) {
	h := newHarness(t)
	const path = "/subscriptions?api-version=2022-12-01"
	h.want("stranger", h.do(request{method: http.MethodGet, path: path}), http.StatusUnauthorized, release.ReasonUnauthorized)
	w := h.get(path, "")
	h.ok("principal without a role", w, nil)
	if strings.TrimSpace(w.Body.String()) != `{"value":[]}` {
		t.Errorf("%s", w.Body)
	}
}

// A client that is not proven is answered in the form of OAuth, also where AD FS has it.
func TestAssertionForm(t *testing.T) {
	h := newHarness(t)
	id, _ := h.principal("app", identity.RoleReader)
	for name, form := range map[string]url.Values{
		"not proven": {"client_assertion": {"a.b.c"}, "client_assertion_type": {identity.AssertionType}},
		"no secret":  {},
	} {
		form.Set("grant_type", "client_credentials")
		form.Set("client_id", id)
		w := h.do(request{method: http.MethodPost, path: "/adfs/oauth2/token", body: form.Encode(), contentType: "application/x-www-form-urlencoded"})
		if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), `"error":"invalid_client"`) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// TestTokenProblems: what is wrong with a request is said, in OAuth's codes (RFC 6749 §5.2)
// and without what was sent; whether there is such a client is not.
func TestTokenProblems(t *testing.T) {
	h := newHarness(t)
	id, secret := h.principal("app", identity.RoleReader)
	answer := func(form string) (int, string, string) {
		w := h.do(request{method: http.MethodPost, path: "/" + testDeployment + "/oauth2/v2.0/token", body: form, contentType: "application/x-www-form-urlencoded"})
		var b struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		h.must(json.Unmarshal(w.Body.Bytes(), &b))
		if strings.ContainsAny(b.Description, `"\\`) || strings.Contains(w.Body.String(), "canary") {
			t.Errorf("%s: %s", form, w.Body)
		}
		return w.Code, b.Error, b.Description
	}
	good := "grant_type=client_credentials&client_id=" + id + "&client_secret=" + secret
	for form, want := range map[string][2]string{
		"%zz":               {"invalid_request", "urlencoded"},
		"canary=1&canary=2": {"invalid_request", "more than once"},
		strings.Replace(good, "client_credentials", "password", 1) + "&username=canary": {"unsupported_grant_type", "client_credentials"},
		"client_id=" + id: {"unsupported_grant_type", "client_credentials"},
		good + "&scope=https://canary.example/.default":                                      {"invalid_scope", "none of this deployment"},
		good + "&scope=https://a.example+https://canary":                                     {"invalid_scope", "more than one scope"},
		good + "&scope=https://a.example&resource=https://canary":                            {"invalid_request", "together"},
		good + "&client_assertion=canary&client_assertion_type=" + identity.AssertionType:    {"invalid_request", "together"},
		"grant_type=client_credentials&client_assertion=canary&client_assertion_type=canary": {"invalid_request", identity.AssertionType},
	} {
		if code, e, text := answer(form); code != http.StatusBadRequest || e != want[0] || !strings.Contains(text, want[1]) {
			t.Errorf("%s: %d %s: %s", form, code, e, text)
		}
	}
	seen := map[string]bool{}
	for _, form := range []string{good + "x", "grant_type=client_credentials&client_id=" + uuidOf(9) + "&client_secret=" + secret, "grant_type=client_credentials&client_id=" + id} {
		code, e, text := answer(form)
		if seen[text] = true; code != http.StatusUnauthorized || e != "invalid_client" {
			t.Errorf("%s: %d %s", form, code, e)
		}
	}
	if len(seen) != 1 {
		t.Errorf("the answers tell clients apart: %v", seen)
	}
}
