package api

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

const secretsOfficer = identity.RoleSecretsOfficer

// secretAnswer is a SecretBundle as a client reads it.
type secretAnswer struct {
	Value       *string           `json:"value"`
	ID          string            `json:"id"`
	ContentType string            `json:"contentType"`
	Tags        map[string]string `json:"tags"`
	Attributes  struct {
		Enabled                         bool
		NotBefore                       int64 `json:"nbf"`
		Expires                         int64 `json:"exp"`
		Created, Updated                int64
		RecoveryLevel                   string
		Exportable, AttestedOnly, Other *bool
	}
}

func (a secretAnswer) version() string { return a.ID[strings.LastIndex(a.ID, "/")+1:] }

func (h *harness) setSecret(name, body string) (a secretAnswer) {
	h.t.Helper()
	h.ok("set "+name, h.send(http.MethodPut, "/secrets/"+name+"?api-version=7.6", secretsOfficer, body), &a)
	return a
}

func TestSecretDoor(t *testing.T) {
	h := newHarness(t)
	const value = "pä\"ss\n<&>\u2028"
	quoted, err := json.Marshal(value)
	h.must(err)
	first := h.setSecret("db", `{"VALUE":`+string(quoted)+`,"contentType":"text/plain","attributes":{"exp":1900000000,"created":1},"tags":{"a":"b"}}`)
	if *first.Value != value || first.ContentType != "text/plain" || first.Attributes.Expires != 1900000000 || first.Attributes.Created != h.now.Unix() ||
		first.Tags["a"] != "b" || first.ID != "https://"+testHost+"/secrets/db/"+first.version() || !first.Attributes.Enabled {
		t.Errorf("%+v", first)
	}
	if r := h.lastRecord(); r.Operation != "secrets/set" || r.Kind != receipt.KindChange || r.Object != "db" || r.Version != first.version() || r.Request != (receipt.Digest{}) {
		t.Errorf("record %+v", r)
	}
	second := h.setSecret("db", `{"value":""}`)
	if *second.Value != "" || second.ContentType != "" || len(second.Tags) != 0 || second.Attributes.Expires != 0 {
		t.Errorf("a new version takes nothing over: %+v", second)
	}
	var got secretAnswer
	for path, want := range map[string]string{"/secrets/db": "", "/SECRETS/DB/": "", "/secrets//db//": "", "/secrets/db/" + first.version(): value} {
		h.ok(path, h.get(path+"?api-version=2026-04-01", secretsOfficer), &got)
		if got.Value == nil || *got.Value != want {
			t.Errorf("%s: %+v", path, got)
		}
		if r := h.lastRecord(); r.Operation != "secrets/get" || r.Kind != receipt.KindOperation || r.Decision != receipt.Allow || "https://"+testHost+"/secrets/db/"+r.Version != got.ID {
			t.Errorf("%s: record %+v", path, r)
		}
	}
	got = secretAnswer{}
	h.ok("update", h.send(http.MethodPatch, "/secrets/db/"+first.version()+"?api-version=7.6", secretsOfficer, `{"value":null,"contentType":"x","attributes":{"enabled":false},"tags":{}}`), &got)
	if got.Value != nil || got.ContentType != "x" || got.Attributes.Enabled || got.Attributes.Expires != 1900000000 || len(got.Tags) != 0 {
		t.Errorf("update: %+v", got)
	}
	h.want("disabled", h.get("/secrets/db/"+first.version()+"?api-version=7.6", secretsOfficer), http.StatusForbidden, release.ReasonSecretDisabled)
	got = secretAnswer{}
	h.ok("update of the latest", h.send(http.MethodPatch, "/secrets/db/?api-version=7.6", secretsOfficer, `{"tags":{"k":"v"}}`), &got)
	if got.ID != second.ID || got.Tags["k"] != "v" {
		t.Errorf("%+v", got)
	}
}

func TestSecretRefusals(t *testing.T) {
	h := newHarness(t)
	h.setSecret("db", `{"value":"v"}`)
	const put, patch = http.MethodPut, http.MethodPatch
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		reason             release.Reason
	}{
		"no value":           {put, "db", `{}`, 400, release.ReasonBadRequest},
		"null":               {put, "db", `{"value":null}`, 400, release.ReasonBadRequest},
		"number":             {put, "db", `{"value":5318008}`, 400, release.ReasonBadRequest},
		"object":             {put, "db", `{"value":{"hunter2":1}}`, 400, release.ReasonBadRequest},
		"twice":              {put, "db", `{"value":"hunter2","Value":"hunter2"}`, 400, release.ReasonDuplicateMember},
		"near miss":          {put, "db", `{"vaule":"hunter2","value":"x"}`, 400, release.ReasonUnknownMember},
		"deep, twice":        {put, "db", `{"value":{"hunter2":1,"Hunter2":2}}`, 400, release.ReasonDuplicateMember},
		"as attributes":      {put, "db", `{"value":"x","attributes":"hunter2"}`, 400, release.ReasonBadRequest},
		"as a name":          {put, "db", `{"value":"x","hunter2é":1}`, 400, release.ReasonUnknownMember},
		"bad UTF-8":          {put, "db", "{\"value\":\"hunter2\xff\"}", 400, release.ReasonBadRequest},
		"lone surrogate":     {put, "db", `{"value":"hunter2\ud800"}`, 400, release.ReasonBadRequest},
		"cut":                {put, "db", `{"value":"hunter2`, 400, release.ReasonBadRequest},
		"too long":           {put, "db", `{"value":"` + strings.Repeat("x", 25<<10+1) + `"}`, 400, release.ReasonBadRequest},
		"managed":            {put, "db", `{"value":"hunter2","managed":true}`, 400, release.ReasonReadOnly},
		"content type":       {put, "db", `{"value":"hunter2","contentType":"` + strings.Repeat("x", 256) + `"}`, 400, release.ReasonBadRequest},
		"content type lines": {put, "db", `{"value":"hunter2","contentType":"a\nb"}`, 400, release.ReasonBadRequest},
		"tags":               {put, "db", `{"value":"hunter2","tags":{"":"x"}}`, 400, release.ReasonBadRequest},
		"times":              {put, "db", `{"value":"hunter2","attributes":{"nbf":2,"exp":1}}`, 400, release.ReasonBadRequest},
		"name":               {put, "d_b", `{"value":"hunter2"}`, 400, release.ReasonBadRequest},
		"update value":       {patch, "db", `{"value":"hunter2"}`, 400, release.ReasonReadOnly},
		"update nothing":     {patch, "other", `{"contentType":"x"}`, 404, release.ReasonNotFound},
		"update old":         {patch, "db/" + strings.Repeat("0", 32), `{"contentType":"x"}`, 404, release.ReasonNotFound},
	} {
		h.logged.Reset()
		w := h.send(c.method, "/secrets/"+c.path+"?api-version=7.6", secretsOfficer, c.body)
		h.want(name, w, c.status, c.reason)
		record, err := h.lastRecord().Encode()
		h.must(err)
		for where, text := range map[string]string{"answer": w.Body.String(), "log": h.logged.String(), "record": string(record)} {
			if strings.Contains(text, "hunter2") || strings.Contains(text, "5318008") {
				t.Errorf("%s: the value is in the %s: %s", name, where, text)
			}
		}
		if c.status == 400 && (h.lastRecord().Request != receipt.Digest{}) {
			t.Errorf("%s: the record has a digest of the body", name)
		}
	}
	w := h.get("/secrets/nothing?api-version=7.6", secretsOfficer)
	h.want("unknown", w, http.StatusNotFound, release.ReasonNotFound)
	if !strings.Contains(w.Body.String(), `"SecretNotFound"`) {
		t.Error(w.Body)
	}
	h.ok("the longest", h.send(http.MethodPut, "/secrets/long?api-version=7.6", secretsOfficer, `{"value":"`+strings.Repeat(`\u0001`, 25<<10)+`"}`), nil)
}

// TestSecretConversion: a conversion is refused where a version has one, unless the
// secret has that type already.
func TestSecretConversion(t *testing.T) {
	h := newHarness(t)
	h.setSecret("pem", `{"value":"v","contentType":"application/x-pem-file"}`)
	get := func(q string) string { return "/secrets/pem?" + q }
	h.ok("as it is", h.get(get("api-version=2025-07-01&outContentType=application/x-pem-file"), secretsOfficer), nil)
	h.ok("before there were any", h.get(get("api-version=7.6&outContentType=application/x-pkcs12"), secretsOfficer), nil)
	for _, v := range []string{"2025-07-01", "2025-07-01-preview", "2026-04-01"} {
		h.want(v, h.get(get("api-version="+v+"&outContentType=application/x-pkcs12"), secretsOfficer), http.StatusBadRequest, release.ReasonBadRequest)
	}
}

// TestSecretLists: no item has a value, each list continues itself and no other.
func TestSecretLists(t *testing.T) {
	h := newHarness(t)
	const n = 28
	for i := range n {
		h.setSecret("s"+string(rune('a'+i/26))+string(rune('a'+i%26)), `{"value":"hunter2"}`)
		h.setSecret("many", `{"value":"hunter2"}`)
	}
	h.ok("a key is no secret", h.send(http.MethodPost, "/keys/k/create?api-version=7.4", identity.RoleAdministrator, `{"kty":"EC"}`), nil)
	var token string
	id := regexp.MustCompile(`^https://` + regexp.QuoteMeta(testHost) + `/secrets/[a-z]+(/[0-9a-f]{32})?$`)
	for path, want := range map[string]int{"/secrets": n + 1, "/secrets/many/versions": n, "/secrets/none/versions": 0} {
		seen, next := map[string]bool{}, path+"?api-version=7.6"
		for next != "" {
			var p struct {
				Value    []secretAnswer
				NextLink *string
			}
			w := h.get(next, identity.RoleReader)
			h.ok(next, w, &p)
			if strings.Contains(w.Body.String(), "hunter2") {
				t.Fatal("a list gives a value")
			}
			for _, s := range p.Value {
				seen[s.ID] = true
				if m := id.FindStringSubmatch(s.ID); m == nil || (m[1] != "") != (path != "/secrets") {
					t.Errorf("id %s in %s", s.ID, path)
				}
			}
			if next = ""; p.NextLink != nil {
				next = strings.TrimPrefix(*p.NextLink, "https://"+testHost)
				if path == "/secrets" {
					token = next[strings.Index(next, "?"):]
				}
			}
		}
		if len(seen) != want {
			t.Errorf("%s: %d entries, want %d", path, len(seen), want)
		}
	}
	for _, path := range []string{"/keys", "/secrets/many/versions"} {
		h.want(path, h.get(path+token, identity.RoleAdministrator), http.StatusBadRequest, release.ReasonBadRequest)
	}
}

// TestSecretRights: metadata is no value, and neither is a right to keys.
func TestSecretRights(t *testing.T) {
	h := newHarness(t)
	h.setSecret("db", `{"value":"v"}`)
	for role, may := range map[string]bool{
		identity.RoleReader: false, identity.RoleCryptoOfficer: false, identity.RoleAuditor: false, identity.RoleSecretsUser: true, secretsOfficer: true, "": false,
	} {
		w := h.get("/secrets/db?api-version=7.6", role)
		if (w.Code == http.StatusOK) != may || !may && strings.Contains(w.Body.String(), `"value"`) {
			t.Errorf("%q: %d %s", role, w.Code, w.Body)
		}
	}
	h.want("user sets", h.send(http.MethodPut, "/secrets/db?api-version=7.6", identity.RoleSecretsUser, `{"value":"v"}`), http.StatusForbidden, release.ReasonForbidden)
}
