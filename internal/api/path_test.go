package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

func TestNormalize(t *testing.T) {
	const v = "0123456789abcdef0123456789abcdef"
	for in, want := range map[string]string{
		"/": "/", "/keys": "/keys", "/keys/": "/keys", "//keys/x": "/keys/x", "/KEYS/Name": "/keys/Name",
		"/keys/k//release": "/keys/k/release", "/keys/k//sign": "/keys/k/sign", "/keys/k/": "/keys/k", "/keys//": "/keys",
		"/keys/k/" + v + "/Release": "/keys/k/" + v + "/release", "/Keys/CREATE/Create": "/keys/CREATE/create", "/keys/k/VERSIONS": "/keys/k/versions",
		"/keys/k/" + strings.ToUpper(v): "/keys/k/" + strings.ToUpper(v), "/%6beys/k": "/keys/k", "/DeletedKeys/k/Recover": "/deletedkeys/k/recover",
		"/v1/release": "/v1/release", "/d1/oauth2/v2.0/token": "/d1/oauth2/v2.0/token", "/.well-known/openskr": "/.well-known/openskr",
		"/attest/SevSnpVM": "/attest/SevSnpVm", "/Attest/azureguest": "/attest/AzureGuest", "/attest/Tpm": "/attest/Tpm", "/attest/x/tdxvm": "/attest/x/tdxvm",
		// of the role API
		"/providers/microsoft.authorization/ROLEASSIGNMENTS":         "/providers/Microsoft.Authorization/roleAssignments",
		"//Providers/Microsoft.Authorization/roledefinitions/A":      "/providers/Microsoft.Authorization/roleDefinitions/A",
		"///providers/Microsoft.Authorization/roleAssignments/x/":    "/providers/Microsoft.Authorization/roleAssignments/x",
		"//keys/K/providers/Microsoft.Authorization/roleAssignments": "/keys/K/providers/Microsoft.Authorization/roleAssignments",
		"/providers/Microsoft.Authorization/denyAssignments":         "/providers/Microsoft.Authorization/denyAssignments",
		// refused
		"//providers/Microsoft.Authorization/denyAssignments": "", "//providers/Microsoft.Authorization/roleAssignments/a/b": "",
		"/%2Fproviders/Microsoft.Authorization/roleAssignments": "",
		"": "", "keys": "", "*": "", "/v1//release": "", "/v1/release/": "", "//v1/release": "",
		"/./keys": "", "/../keys": "", "/keys/./x": "", "/keys/..": "", "/keys/%2e%2e/x": "", "/keys/%2e": "", "/keys/a%2Fb": "", "/keys/a%2fb": "",
		"/keys/a%252Fb": "", "/keys/%00": "", "/keys/a%00": "", "/keys/a%5cb": "", `/keys/a\b`: "", "/keys/k;a=b": "", "/keys/k%3Ba=b": "",
		"/keys/k%": "", "/keys/%zz": "", "/keys/e\u0301": "", "/keys/%C3%A9": "", "/keys/\u202ek": "", "/keys/😀": "", "/keys/a b": "", "/keys/a+b": "",
		"/keys/a%20b": "", "/keys/a%0d%0aX": "", "/" + strings.Repeat("a", 1024): "",
	} {
		got, err := normalize(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}

// FuzzScopeOf: a path names a scope of its host's vault, or none.
func FuzzScopeOf(f *testing.F) {
	for _, s := range []string{"", "/keys/K", "/secrets", "/vaults/abd/keys", "/v1", "/keys/a/b"} {
		f.Add(s + "/providers/Microsoft.Authorization/roleAssignments/x")
	}
	f.Fuzz(func(t *testing.T, s string) {
		path, err := normalize(s)
		if err != nil {
			return
		}
		for _, root := range []string{"/", "/vaults/abc"} {
			at, rest := scopeOf(path, root)
			if at == "" && rest != path || at != "" && (!identity.ValidScope(at) || !identity.Covers(root, at) || !strings.HasPrefix(rest, "/providers/Microsoft.Authorization/role")) {
				t.Fatalf("%q on %s: %q, %q", path, root, at, rest)
			}
		}
	})
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"//keys/k/providers/Microsoft.Authorization/roleAssignments/x", "/keys/k//release", "/keys/%2e%2e", "/KEYS/a/VERSIONS/", "/v1/release", "/keys/a%2Fb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := normalize(s)
		if err != nil {
			return
		}
		if strings.Contains(got, "//") || strings.ContainsAny(got, "%\\;\x00 ") || strings.Contains(got, "/../") || strings.HasSuffix(got, "/..") {
			t.Fatalf("%q became %q", s, got)
		}
		if again, err := normalize(got); err != nil || again != got {
			t.Fatalf("%q became %q, and that %q, %v", s, got, again, err)
		}
	})
}

// TestPaths are AP-01, AP-02 and AP-20: one verdict whatever the spelling, no
// redirect, and handler and record see the same name.
func TestPaths(t *testing.T) {
	h := newHarness(t)
	h.ok("create", h.send(http.MethodPost, "/keys/Disk/create?api-version=7.4", identity.RoleAdministrator, `{"kty":"EC"}`), nil)
	version := h.lastRecord().Version
	for _, path := range []string{"/keys/Disk", "/KEYS/Disk", "//keys//Disk/", "/keys/Disk/" + version, "/keys/Disk//" + version + "/", "/keys/disk"} {
		var b struct{ Key struct{ Kid string } }
		h.ok(path, h.get(path+"?api-version=7.4", identity.RoleReader), &b)
		if b.Key.Kid != "https://"+testHost+"/keys/Disk/"+version {
			t.Errorf("%s: kid %s", path, b.Key.Kid)
		}
	}
	for _, path := range []string{
		"/keys/" + strings.Repeat("a", 128), "/keys/a.b", "/keys/a_b", "/keys/Disk/latest", "/keys/Disk/" + strings.ToUpper("a"+version[1:]),
		"/keys/Disk/" + version[:31], "/keys/Disk/" + version + "0",
	} {
		h.want(path, h.get(path+"?api-version=7.4", identity.RoleReader), http.StatusBadRequest, release.ReasonBadRequest)
	}
	// names that are words elsewhere
	for _, name := range []string{"versions", "create", "deletedkeys", "release", "-", "-a"} {
		w := h.send(http.MethodPost, "/keys/"+name+"/create?api-version=7.4", identity.RoleAdministrator, `{"kty":"EC"}`)
		h.ok(name, w, nil)
		if h.lastRecord().Object != name {
			t.Errorf("%s: record about %q", name, h.lastRecord().Object)
		}
	}
}

// TestHosts are RB-03 and AP-17: no header makes it into a URL of ours.
func TestHosts(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Hosts = []string{testHost, "other.local"} })
	for _, host := range []string{"evil.example", "kv1.vault.local", "kv1.vault.local:8444", testHost + ".", "other.local:443"} {
		h.want(host, h.do(request{method: http.MethodGet, path: "/keys?api-version=7.4", host: host, token: h.token(identity.RoleReader)}), http.StatusBadRequest, release.ReasonBadRequest)
	}
	for _, name := range []string{"X-Forwarded-Host", "X-Original-Host", "Forwarded", "X-Forwarded-For", "X-Real-IP"} {
		w := h.do(request{method: http.MethodGet, path: "/keys", header: map[string]string{name: "evil.example"}})
		if s := w.Header().Get("WWW-Authenticate"); strings.Contains(s, "evil") || s == "" {
			t.Errorf("%s: %s", name, s)
		}
	}
	w := h.do(request{method: http.MethodGet, path: "/keys", host: "OTHER.local"})
	if s := w.Header().Get("WWW-Authenticate"); s != `Bearer authorization="https://other.local/d1", resource="https://local"` {
		t.Error(s)
	}
	if w := h.do(request{method: http.MethodGet, path: "/healthz", host: "10.0.0.1:8443"}); w.Code != http.StatusOK {
		t.Errorf("a probe by address: %d", w.Code)
	}
}
