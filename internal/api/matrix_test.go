package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// place is where a request of the matrix goes.
type place struct{ host, name string }

// asked is the scope that an operation of the document asks its action for, by a model
// of its own: the vault of the host, and what the path says.
func asked(path string, p place) string {
	vault, suffixed := strings.CutSuffix(p.host, "."+roleSuffix)
	if !suffixed {
		vault = "default"
	}
	first := strings.Split(path, "/")[1]
	switch first {
	case "keys", "deletedkeys", "secrets", "deletedsecrets":
		scope := "/vaults/" + vault + "/" + strings.TrimPrefix(first, "deleted")
		if strings.Contains(path, "{name}") {
			scope += "/" + strings.ToLower(p.name)
		}
		return scope
	case "v1":
		if scope, ok := strings.CutPrefix(path, "/v1/format-grants"); ok {
			return "/vaults/" + vault + "/keys" + strings.ReplaceAll(scope, "{name}", strings.ToLower(p.name))
		}
	case "rng":
		return "/vaults/" + vault
	case "providers":
		if suffixed {
			return "/vaults/" + vault
		}
	}
	return "/"
}

// covered says whether a right at have is one at want.
func covered(have, want string) bool {
	if have == "/" {
		return true
	}
	h, w := strings.Split(have, "/"), strings.Split(want, "/")
	return len(h) <= len(w) && slices.Equal(h, w[:len(h)])
}

// TestRightsMatrix is RB-02: every operation of the OpenAPI document × every role, held
// at a vault and at one object, × {the vault, another, one that is not there, the
// object, one that begins alike, a disabled one, a deleted one, one that never was}. Who may not is
// told so before anything is looked up, in the same words and with the same record.
func TestRightsMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of requests, one after the other")
	}
	h := newHarness(t, func(c *Config) { c.Suffixes = []string{roleSuffix} })
	h.vaultWithObjects("own")
	places := []place{
		{"own." + roleSuffix, "live"},
		{"own." + roleSuffix, "LIVE"},
		{"own." + roleSuffix, "live2"},
		{"own." + roleSuffix, "off"},
		{"own." + roleSuffix, "gone"},
		{"own." + roleSuffix, "never"},
		{"own2." + roleSuffix, "live"},
		{"nowhere." + roleSuffix, "live"},
		{testHost, "live"},
	}
	doc := readOpenAPI(t)
	count := 0
	for _, role := range identity.Roles() {
		for _, scope := range []string{"/", "/vaults/own", "/vaults/own/keys/live", "/vaults/own/secrets/gone"} {
			if role.Everywhere != (scope == "/") { // TestMatrix has the others at /
				continue
			}
			_, token := h.at(role.Name, scope)
			for path, ops := range doc.Paths {
				for method, o := range ops {
					if o.Action == "" {
						continue
					}
					refused := map[string]string{}
					for _, p := range places {
						want := slices.Contains(role.Actions, identity.Action(o.Action)) && covered(scope, asked(path, p))
						answer := h.matrixCell(t, role.Name+" at "+scope, method, path, o.Operation, p, token, want)
						if !want {
							refused[answer] = p.host + " " + p.name
						}
						count++
					}
					if len(refused) > 1 {
						t.Errorf("%s at %s: %s %s: a refusal tells what is there: %v", role.Name, scope, method, path, refused)
					}
				}
			}
		}
	}
	if count < 20_000 {
		t.Errorf("only %d cells", count)
	}
}

// matrixCell asks once and gives the answer without what may differ. The body cannot be
// read, so that nothing but reading is ever done.
func (h *harness) matrixCell(t *testing.T, who, method, path, op string, p place, token string, want bool) string {
	t.Helper()
	concrete := strings.NewReplacer(
		"{name}", p.name, "{version}", strings.Repeat("0", 32), "{id}", uuidOf(1), "{set}", "web", "{index}", "0", "{deployment}", testDeployment,
	).Replace(path)
	if asked(path, p) != "/" || strings.HasPrefix(path, "/providers") {
		concrete += "?api-version=7.4"
	}
	r := request{method: strings.ToUpper(method), host: p.host, path: concrete, token: token, body: "{"}
	if r.method == http.MethodGet {
		r.body = ""
	}
	before := len(h.store.Leaves)
	w := h.do(r)
	name := who + ": " + r.method + " " + p.host + concrete
	reason := ""
	if w.Code/100 != 2 {
		_, reason = h.refusal(w)
	}
	if want {
		if reason == string(release.ReasonForbidden) || w.Code == http.StatusUnauthorized {
			t.Errorf("%s: refused: %s", name, w.Body)
		}
		return ""
	}
	if w.Code != http.StatusForbidden || reason != string(release.ReasonForbidden) {
		t.Errorf("%s: allowed: %d %s", name, w.Code, w.Body)
		return ""
	}
	if len(h.store.Leaves) != before+1 {
		t.Fatalf("%s: %d records of the refusal", name, len(h.store.Leaves)-before)
	}
	rec := *h.lastRecord()
	if rec.Operation != op || rec.Decision != receipt.Deny || rec.Reason != string(release.ReasonForbidden) || rec.Object != "" && rec.Object != p.name {
		t.Errorf("%s: record %+v", name, rec)
	}
	rec.Correlation, rec.Vault, rec.Object, rec.Caller = "", "", "", nil
	leaf, err := rec.Encode()
	h.must(err)
	return strings.ReplaceAll(w.Body.String(), w.Header().Get("x-ms-request-id"), "") + string(leaf)
}

// vaultWithObjects makes a vault with a live and a deleted key, and secrets of the
// same names.
func (h *harness) vaultWithObjects(vault string) {
	h.t.Helper()
	admin := h.token(identity.RoleAdministrator)
	host := vault + "." + roleSuffix
	ask := func(method, host, path, body string) {
		h.t.Helper()
		w := h.do(request{method: method, host: host, path: path, token: admin, body: body})
		if w.Code/100 != 2 {
			h.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
	ask(http.MethodPost, testHost, "/v1/vaults", `{"name":"`+vault+`"}`)
	for name, enabled := range map[string]string{"live": "true", "off": "false", "gone": "true"} {
		ask(http.MethodPost, host, "/keys/"+name+"/create?api-version=7.4", `{"kty":"EC","attributes":{"enabled":`+enabled+`}}`)
		ask(http.MethodPut, host, "/secrets/"+name+"?api-version=7.4", `{"value":"v","attributes":{"enabled":`+enabled+`}}`)
	}
	for _, c := range []string{"keys", "secrets"} {
		ask(http.MethodDelete, host, "/"+c+"/gone?api-version=7.4", "")
	}
}
