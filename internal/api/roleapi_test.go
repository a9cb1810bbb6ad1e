package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	apikeyvault "github.com/openskr/openskr/internal/api/keyvault"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

const (
	roleSuffix  = "vault.test"
	assignments = "/providers/Microsoft.Authorization/roleAssignments"
	definitions = "/providers/Microsoft.Authorization/roleDefinitions"
	anyVersion  = "?api-version=7.5"
	someone     = "11111111-1111-4111-8111-111111111111"
)

// roleHarness has vaults by name and a principal that may give every right.
func roleHarness(t *testing.T) (h *harness, admin, token string) {
	t.Helper()
	h = newHarness(t, func(c *Config) { c.Suffixes = []string{roleSuffix} })
	admin, token = h.login(identity.RoleIdentityAdmin)
	return h, admin, token
}

// login makes a principal with roles at / and gives id and token.
func (h *harness) login(roles ...string) (id, token string) {
	h.t.Helper()
	id, secret := h.principal("p", roles...)
	tok, err := h.ids.Token(h.t.Context(), &identity.TokenRequest{GrantType: "client_credentials", ClientID: id, ClientSecret: secret})
	h.must(err)
	return id, tok.Access
}

// at gives a principal a role at a scope, and it alone, and gives id and token.
func (h *harness) at(role, scope string) (id, token string) {
	h.t.Helper()
	id, token = h.login()
	h.assign(id, identity.Assignment{ID: uuidOf(7), Role: role, Scope: scope})
	return id, token
}

func uuidOf(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

func roleBody(role, principal string) string {
	r, _ := identity.RoleNamed(role)
	return `{"properties":{"roleDefinitionId":"Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/` + r.ID + `","principalId":"` + principal + `","principalType":"User"}}`
}

func (h *harness) roleCall(method, host, path, token, body string) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.do(request{method: method, host: host, path: path, token: token, body: body})
}

func (h *harness) code(w *httptest.ResponseRecorder) string {
	h.t.Helper()
	var b struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	h.must(json.Unmarshal(w.Body.Bytes(), &b))
	return fmt.Sprintf("%d %s", w.Code, b.Error.Code)
}

// TestRoleScopes: which scope a path names, on which host, and how it is answered.
func TestRoleScopes(t *testing.T) {
	h, _, token := roleHarness(t)
	id, ours := 100, "va1."+roleSuffix
	for _, c := range []struct{ host, before, canonical, shown string }{
		{testHost, "", "/", "/"},
		{testHost, "/", "/", "/"},
		{testHost, "//", "/", "/"},
		{testHost, "/keys", "/vaults/default/keys", "/keys"},
		{testHost, "//keys/", "/vaults/default/keys", "/keys"},
		{testHost, "/KEYS/Disk", "/vaults/default/keys/disk", "/keys/disk"},
		{testHost, "/secrets/db", "/vaults/default/secrets/db", "/secrets/db"},
		{testHost, "/vaults/default", "/vaults/default", "/vaults/default"},
		{testHost, "/vaults/vb1/keys/disk", "/vaults/vb1/keys/disk", "/vaults/vb1/keys/disk"},
		{ours, "", "/vaults/va1", "/"},
		{ours, "/", "/vaults/va1", "/"},
		{ours, "/keys", "/vaults/va1/keys", "/keys"},
		{ours, "/secrets/db", "/vaults/va1/secrets/db", "/secrets/db"},
	} {
		id++
		name := c.host + c.before
		w := h.roleCall(http.MethodPut, c.host, c.before+strings.ToLower(assignments)+"/"+strings.ToUpper(uuidOf(id))+anyVersion, token, roleBody(identity.RoleReader, someone))
		if w.Code != http.StatusCreated {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
			continue
		}
		var got apikeyvault.RoleAssignment
		h.must(json.Unmarshal(w.Body.Bytes(), &got))
		if got.Properties.Scope != c.shown || got.ID != strings.TrimSuffix(c.shown, "/")+assignments+"/"+uuidOf(id) || got.Name != uuidOf(id) || got.Properties.Principal != someone {
			t.Errorf("%s: %+v", name, got)
		}
		rec := h.lastRecord()
		if rec.Operation != identity.OpAssign || rec.Object != someone || rec.Detail["scope"] != c.canonical || rec.Detail["role"] != identity.RoleReader || rec.Detail["assignment"] != uuidOf(id) {
			t.Errorf("%s: record %+v", name, rec)
		}
		h.ok(name, h.roleCall(http.MethodDelete, c.host, c.before+assignments+"/"+uuidOf(id)+anyVersion, token, ""), &got)
		if got.Name != uuidOf(id) || h.lastRecord().Operation != identity.OpUnassign {
			t.Errorf("%s: deleted %+v", name, got)
		}
	}
	for _, c := range []struct{ host, before string }{
		{testHost, "/v2"},
		{testHost, "/certificates"},
		{testHost, "/keys/a/b"},
		{testHost, "/keys/a_b"},
		{testHost, "/vaults/va1/c"},
		{ours, "/vaults/va1"},
		{ours, "/vaults/vb1/keys"},
	} {
		path := c.before + assignments + "/" + uuidOf(1) + version
		h.want("stranger "+c.host+path, h.roleCall(http.MethodPut, c.host, path, "", "{}"), http.StatusUnauthorized, release.ReasonUnauthorized)
		h.want(c.host+path, h.roleCall(http.MethodPut, c.host, path, token, roleBody(identity.RoleReader, someone)), http.StatusNotFound, release.ReasonNotFound)
	}
}

// TestRoleRefusals: what an assignment must be, and the words of Managed HSM.
func TestRoleRefusals(t *testing.T) {
	h, admin, token := roleHarness(t)
	one := assignments + "/" + uuidOf(1) + version
	put := func(path, body string) *httptest.ResponseRecorder {
		return h.roleCall(http.MethodPut, testHost, path, token, body)
	}
	if w := put("/keys"+one, roleBody(identity.RoleReader, someone)); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for name, c := range map[string]struct {
		w    *httptest.ResponseRecorder
		want string
	}{
		"name taken":       {put("/keys"+one, roleBody(identity.RoleReader, someone)), "409 RoleAssignmentExists"},
		"taken elsewhere":  {put("/vaults/vb1"+one, roleBody(identity.RoleReader, someone)), "409 RoleAssignmentExists"},
		"taken by another": {put("/secrets"+one, roleBody(identity.RoleSecretsUser, strings.ReplaceAll(someone, "1", "2"))), "409 RoleAssignmentExists"},
		"same again":       {put("/keys"+assignments+"/"+uuidOf(2)+anyVersion, roleBody(identity.RoleReader, someone)), "409 RoleAssignmentExists"},
		"no role":          {put("/keys"+assignments+"/"+uuidOf(2)+anyVersion, roleBody("no role", someone)), "400 BadParameter"},
		"role by name":     {put(assignments+"/"+uuidOf(2)+anyVersion, `{"properties":{"roleDefinitionId":"Key Vault Reader","principalId":"`+someone+`"}}`), "400 BadParameter"},
		"another provider": {put(assignments+"/"+uuidOf(2)+anyVersion, `{"properties":{"roleDefinitionId":"x/21090545-7ca7-4776-b22c-e363652d74d2","principalId":"`+someone+`"}}`), "400 BadParameter"},
		"no principal":     {put(assignments+"/"+uuidOf(2)+anyVersion, roleBody(identity.RoleReader, "")), "400 BadParameter"},
		"not for a vault":  {put("/keys"+assignments+"/"+uuidOf(2)+anyVersion, roleBody(identity.RoleAuditor, someone)), "400 BadParameter"},
		"not a UUID":       {put(assignments+"/x"+anyVersion, roleBody(identity.RoleReader, someone)), "400 BadParameter"},
		"unknown":          {h.roleCall(http.MethodGet, testHost, assignments+"/"+uuidOf(9)+anyVersion, token, ""), "404 RoleAssignmentNotFound"},
		"another scope":    {h.roleCall(http.MethodDelete, testHost, "/secrets"+one, token, ""), "404 RoleAssignmentNotFound"},
		"no definition":    {h.roleCall(http.MethodGet, testHost, definitions+"/"+uuidOf(9)+anyVersion, token, ""), "404 RoleDefinitionDoesNotExist"},
		"custom role":      {h.roleCall(http.MethodPut, testHost, definitions+"/"+uuidOf(9)+anyVersion, token, "{}"), "403 Forbidden"},
		"other filter":     {h.roleCall(http.MethodGet, testHost, assignments+anyVersion+"&$filter=assignedTo('x')", token, ""), "400 BadParameter"},
		"foreign token":    {h.roleCall(http.MethodGet, testHost, assignments+anyVersion+"&$skiptoken=AAAA", token, ""), "400 BadParameter"},
	} {
		if got := h.code(c.w); got != c.want {
			t.Errorf("%s: %s, want %s: %s", name, got, c.want, c.w.Body)
		}
	}
	// at / the CLI reaches what lies below
	h.ok("from above", h.roleCall(http.MethodDelete, testHost, one, token, ""), nil)
	// and nobody locks everybody out
	w := h.roleCall(http.MethodDelete, testHost, assignments+"/"+h.first(admin)+anyVersion, token, "")
	h.want("the last", w, http.StatusConflict, release.ReasonLastAdministrator)
	if got := h.code(w); got != "409 Conflict" {
		t.Error(got)
	}
	for _, step := range []request{
		{method: http.MethodPatch, path: "/v1/principals/" + admin, body: `{"enabled":false}`},
		{method: http.MethodDelete, path: "/v1/principals/" + admin},
	} {
		step.token = token
		h.want("last administrator, "+step.method, h.do(step), http.StatusConflict, release.ReasonLastAdministrator)
	}
	h.login("Managed HSM Policy Administrator")
	h.ok("no longer the last", h.roleCall(http.MethodDelete, testHost, assignments+"/"+h.first(admin)+anyVersion, token, ""), nil)
	h.want("gone with the next request", h.roleCall(http.MethodGet, testHost, assignments+anyVersion, token, ""), http.StatusForbidden, release.ReasonForbidden)
}

// first gives the id of a principal's first assignment.
func (h *harness) first(principal string) string {
	h.t.Helper()
	list, err := identity.DecodeAssignments(h.store.Docs[release.ObjectRoles+"/"+principal].Value)
	h.must(err)
	return list[0].ID
}

// TestRoleList: what a caller sees of rights, by scope, filter and host.
func TestRoleList(t *testing.T) {
	h, _, _ := roleHarness(t)
	h.store.Docs = map[string]*release.Object{}
	_, token := h.login(identity.RoleIdentityAdmin)
	reader := func(principal string, ids ...int) {
		scopes := map[int]string{1: "/", 2: "/vaults/va1", 3: "/vaults/va1/keys", 4: "/vaults/va1/keys/k", 5: "/vaults/va1b", 6: "/vaults/default/keys"}
		var list []identity.Assignment
		for _, n := range ids {
			list = append(list, identity.Assignment{ID: uuidOf(1000 + n), Role: identity.RoleReader, Scope: scopes[n]})
		}
		h.assign(principal, list...)
	}
	reader(someone, 1, 2, 3)
	reader(strings.ReplaceAll(someone, "1", "2"), 4, 5, 6)
	_, local := h.at("Managed HSM Policy Administrator", "/vaults/va1")
	seen := func(host, path, token string) (out []int) {
		for path != "" {
			var p apikeyvault.Page[apikeyvault.RoleAssignment]
			h.ok(host+path, h.roleCall(http.MethodGet, host, path, token, ""), &p)
			for _, a := range p.Value {
				for n := range 7 {
					if a.Name == uuidOf(1000+n) {
						out = append(out, n)
					}
				}
			}
			if path = ""; p.NextLink != nil {
				path = strings.TrimPrefix(*p.NextLink, "https://"+host)
			}
		}
		slices.Sort(out)
		return out
	}
	a := "va1." + roleSuffix
	for name, c := range map[string]struct {
		got  []int
		want []int
	}{
		"/":               {seen(testHost, assignments+anyVersion, token), []int{1, 2, 3, 4, 5, 6}},
		"/ alone":         {seen(testHost, assignments+anyVersion+"&$filter=atScope()", token), []int{1}},
		"vault a":         {seen(testHost, "/vaults/va1"+assignments+anyVersion, token), []int{1, 2, 3, 4}},
		"keys, at scope":  {seen(testHost, "/vaults/va1/keys"+assignments+anyVersion+"&$filter=atScope()", token), []int{1, 2, 3}},
		"of one":          {seen(testHost, assignments+anyVersion+"&$filter=principalId%20eq%20'"+someone+"'", token), []int{1, 2, 3}},
		"default's keys":  {seen(testHost, "/keys"+assignments+anyVersion, token), []int{1, 6}},
		"a's host":        {seen(a, assignments+anyVersion, token), []int{2, 3, 4}},
		"a's host, local": {seen(a, assignments+anyVersion, local), []int{2, 3, 4}},
		"a by path":       {seen(testHost, "/vaults/va1"+assignments+anyVersion, local), []int{2, 3, 4}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	// more principals than a page has
	for n := range 250 {
		h.assign(fmt.Sprintf("22222222-2222-4222-9222-%012x", n), identity.Assignment{ID: uuidOf(5000 + n), Role: identity.RoleReader, Scope: "/vaults/vz1"})
	}
	pages, total := 0, 0
	for path := "/vaults/vz1" + assignments + version + "&$filter=atScope()"; path != ""; pages++ {
		var p apikeyvault.Page[apikeyvault.RoleAssignment]
		h.ok("page", h.roleCall(http.MethodGet, testHost, path, token, ""), &p)
		total += len(p.Value)
		if path = ""; p.NextLink != nil {
			path = strings.TrimPrefix(*p.NextLink, "https://"+testHost)
			h.want("token at another scope", h.roleCall(http.MethodGet, testHost, strings.Replace(path, "/vaults/vz1", "/vaults/vy1", 1), token, ""), http.StatusBadRequest, release.ReasonBadRequest)
		}
	}
	if pages < 3 || total != 252 { // and the two at /
		t.Errorf("%d assignments on %d pages", total, pages)
	}
}

// TestRoleBounds is RB-03 for rights: nobody gives any where he may not, and names
// that begin alike are different places.
func TestRoleBounds(t *testing.T) {
	h, _, _ := roleHarness(t)
	_, token := h.at("Managed HSM Policy Administrator", "/vaults/va1")
	_, keys := h.at("Managed HSM Administrator", "/vaults/va1/keys/disk")
	n := 100
	try := func(host, before, token string) int {
		n++
		return h.roleCall(http.MethodPut, host, before+assignments+"/"+uuidOf(n)+anyVersion, token, roleBody(identity.RoleReader, someone)).Code
	}
	a := "va1." + roleSuffix
	for name, c := range map[string]struct{ got, want int }{
		"own host":            {try(a, "", token), 201},
		"own host, keys":      {try(a, "/keys/x", token), 201},
		"by path":             {try(testHost, "/vaults/va1/secrets", token), 201},
		"by path, other case": {try(testHost, "/vaults/VA1/keys/y", token), 201},
		"deployment":          {try(testHost, "", token), 403},
		"default vault":       {try(testHost, "/keys", token), 403},
		"begins alike":        {try("va1b."+roleSuffix, "", token), 403},
		"begins alike, path":  {try(testHost, "/vaults/va1b", token), 403},
		"no such vault":       {try("nothing."+roleSuffix, "", token), 403},
		"one key":             {try(a, "/keys/DISK", keys), 201},
		"another key":         {try(a, "/keys/disk2", keys), 403},
		"all keys":            {try(a, "/keys", keys), 403},
		"a secret":            {try(a, "/secrets/disk", keys), 403},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", name, c.got, c.want)
		}
	}
	if rec := h.store.Leaves[len(h.store.Leaves)-1]; rec.Operation != identity.OpAssign {
		t.Errorf("record %+v", rec)
	}
}

// TestRightsInFlight: a right that is taken away while a secret is read is gone by the
// time that its record is written, and the value does not leave.
func TestRightsInFlight(t *testing.T) {
	h, _, _ := roleHarness(t)
	_, officer := h.login(identity.RoleSecretsOfficer)
	h.ok("set", h.do(request{method: http.MethodPut, path: "/secrets/db" + version, token: officer, body: `{"value":"canary"}`}), nil)
	id, token := h.at(identity.RoleSecretsUser, "/vaults/default/secrets/db")
	read := func() *httptest.ResponseRecorder {
		return h.do(request{method: http.MethodGet, path: "/secrets/DB" + version, token: token})
	}
	h.ok("read", read(), nil)
	for name, change := range map[string]func(){
		"taken away": func() { h.assign(id) },
		"principal disabled": func() {
			_, err := h.config.Access.Enable(t.Context(), id, false)
			h.must(err)
		},
	} {
		h.assign(id, identity.Assignment{ID: uuidOf(7), Role: identity.RoleSecretsUser, Scope: "/vaults/default/secrets/db"})
		h.log.before = func() {
			h.log.before = nil
			change()
		}
		w := read()
		h.want(name, w, http.StatusForbidden, release.ReasonStateChanged)
		if rec := h.lastRecord(); rec.Decision != receipt.Deny || rec.Reason != string(release.ReasonStateChanged) || strings.Contains(w.Body.String(), "canary") {
			t.Errorf("%s: %+v, %s", name, rec, w.Body)
		}
		_, err := h.config.Access.Enable(t.Context(), id, true)
		h.must(err)
	}
}
