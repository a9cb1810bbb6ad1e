package api

import (
	"net/http"
	"testing"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// TestVaults: a vault is made, found under its host, and its settings count there.
func TestVaults(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Suffixes = []string{"vault.local:8443"} })
	const admin = identity.RoleAdministrator
	type vault struct {
		Name            string
		RetentionDays   int  `json:"retention_days"`
		PurgeProtection bool `json:"purge_protection"`
	}
	at := func(method, path, body string) request {
		return request{method: method, path: path, body: body, token: h.token(admin), host: "team-a.vault.local:8443"}
	}
	create := at(http.MethodPost, "/keys/disk/create"+version, `{"kty":"EC"}`)
	for _, r := range []request{create, at(http.MethodGet, "/keys"+version, ""), at(http.MethodGet, "/keys/disk"+version, ""), at(http.MethodGet, "/deletedsecrets"+version, "")} {
		h.want("before there is a vault: "+r.path, h.do(r), http.StatusNotFound, release.ReasonNotFound)
	}
	var v vault
	h.ok("create", h.send(http.MethodPost, "/v1/vaults", admin, `{"name":"team-a","retention_days":7,"purge_protection":true}`), &v)
	if v != (vault{"team-a", 7, true}) || h.lastRecord().Operation != "vaults/create" {
		t.Errorf("%+v, record %+v", v, h.lastRecord())
	}
	for body, want := range map[string]struct {
		status int
		reason release.Reason
	}{
		`{"name":"team-a"}`:                     {http.StatusConflict, release.ReasonConflict},
		`{"name":"default"}`:                    {http.StatusConflict, release.ReasonConflict},
		`{"name":"T"}`:                          {http.StatusBadRequest, release.ReasonBadRequest},
		`{"name":"team-b","retention_days":1}`:  {http.StatusBadRequest, release.ReasonBadRequest},
		`{"name":"team-b","retentionDays":10}`:  {http.StatusBadRequest, release.ReasonUnknownMember},
		`{"name":"team-b","retention_days":1e}`: {http.StatusBadRequest, release.ReasonBadRequest},
	} {
		h.want(body, h.send(http.MethodPost, "/v1/vaults", admin, body), want.status, want.reason)
	}
	var s shown
	h.ok("key", h.do(create), &s)
	if s.Attributes.RecoveryLevel != "CustomizedRecoverable" || s.Attributes.RecoverableDays != 7 {
		t.Errorf("%+v", s)
	}
	h.ok("delete", h.do(at(http.MethodDelete, "/keys/disk"+version, "")), &s)
	if s.RecoveryID != "https://team-a.vault.local:8443/deletedkeys/disk" || s.ScheduledPurgeDate-s.DeletedDate != 7*24*3600 {
		t.Errorf("%+v", s)
	}
	h.want("purge", h.do(at(http.MethodDelete, "/deletedkeys/disk"+version, "")), http.StatusForbidden, release.ReasonPurgeProtected)
	if h.lastRecord().Operation != "keys/purge" || h.lastRecord().Decision != "deny" {
		t.Errorf("no record of the refusal: %+v", h.lastRecord())
	}
	h.want("other vault", h.get("/deletedkeys/disk"+version, admin), http.StatusNotFound, release.ReasonNotFound)

	h.want("protection off", h.send(http.MethodPatch, "/v1/vaults/team-a", admin, `{"purge_protection":false}`), http.StatusForbidden, release.ReasonPurgeProtected)
	h.ok("longer", h.send(http.MethodPatch, "/v1/vaults/team-a", admin, `{"retention_days":30}`), &v)
	h.ok("get", h.get("/v1/vaults/team-a", identity.RoleAuditor), &v)
	if v.RetentionDays != 30 {
		t.Errorf("%+v", v)
	}
	h.want("get none", h.get("/v1/vaults/team-x", admin), http.StatusNotFound, release.ReasonNotFound)
	h.want("update none", h.send(http.MethodPatch, "/v1/vaults/team-x", admin, `{}`), http.StatusNotFound, release.ReasonNotFound)
	h.want("by an officer", h.send(http.MethodPatch, "/v1/vaults/team-a", officer, `{"retention_days":90}`), http.StatusForbidden, release.ReasonForbidden)
	var page struct {
		Value []vault
		Next  string
	}
	h.ok("list", h.get("/v1/vaults?limit=1", admin), &page)
	if len(page.Value) != 1 || page.Value[0].Name != "default" || page.Next != "default" {
		t.Errorf("%+v", page)
	}
	page.Next = ""
	h.ok("rest", h.get("/v1/vaults?limit=1&after=default", admin), &page)
	if len(page.Value) != 1 || page.Value[0].Name != "team-a" || page.Next != "" {
		t.Errorf("%+v", page)
	}
}
