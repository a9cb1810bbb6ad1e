package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// shown is what a test reads of an answer about something deleted.
type shown struct {
	ID         string
	Key        struct{ Kid string }
	Value      json.RawMessage
	Attributes struct {
		RecoveryLevel   string
		RecoverableDays int
	}
	RecoveryID         string `json:"recoveryId"`
	DeletedDate        int64
	ScheduledPurgeDate int64
}

func (s shown) url() string { return s.ID + s.Key.Kid }

const version = "?api-version=7.6"

// lifecycle is one collection's way through deletion, as its clients go it.
type lifecycle struct {
	name, role, kind string // "keys", "Key"
	make             func(h *harness, name string)
}

func lifecycles() []lifecycle {
	return []lifecycle{
		{"keys", identity.RoleCryptoOfficer, "Key", func(h *harness, name string) {
			h.ok("create", h.send(http.MethodPost, "/keys/"+name+"/create"+version, identity.RoleCryptoOfficer, `{"kty":"EC"}`), nil)
		}},
		{"secrets", identity.RoleSecretsOfficer, "Secret", func(h *harness, name string) {
			h.ok("set", h.send(http.MethodPut, "/secrets/"+name+version, identity.RoleSecretsOfficer, `{"value":"hidden"}`), nil)
		}},
	}
}

// words reads the word that Key Vault's clients look for.
func words(t *testing.T, w *httptest.ResponseRecorder) (code, word string) {
	t.Helper()
	var b binding.ErrorBody
	if err := json.Unmarshal(w.Body.Bytes(), &b); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return b.Error.Code, b.Error.InnerError.Code
}

func TestDeletion(t *testing.T) {
	for _, l := range lifecycles() {
		t.Run(l.name, func(t *testing.T) {
			h := newHarness(t)
			l.make(h, "Disk")
			live, deleted := "/"+l.name+"/disk", "/deleted"+l.name+"/disk"
			h.want("deleted of a live one", h.get(deleted+version, l.role), http.StatusNotFound, release.ReasonNotFound)

			var s shown
			h.ok("delete", h.send(http.MethodDelete, live+version, l.role, ""), &s)
			if s.RecoveryID != "https://"+testHost+"/deleted"+l.name+"/Disk" || s.DeletedDate != h.now.Unix() || s.ScheduledPurgeDate != h.now.Add(90*24*time.Hour).Unix() ||
				s.Attributes.RecoveryLevel != "Recoverable+Purgeable" || s.Attributes.RecoverableDays != 90 || s.Value != nil || !strings.HasPrefix(s.url(), "https://"+testHost+"/"+l.name+"/Disk/") {
				t.Errorf("%+v", s)
			}
			for _, path := range []string{live, live + "/00000000000000000000000000000000"} {
				w := h.get(path+version, l.role)
				h.want(path, w, http.StatusNotFound, release.ReasonNotFound)
				if code, _ := words(t, w); code != l.kind+"NotFound" {
					t.Errorf("code %s", code)
				}
			}
			body, method, path := `{"kty":"EC"}`, http.MethodPost, live+"/create"
			if l.name == "secrets" {
				body, method, path = `{"value":"x"}`, http.MethodPut, live
			}
			w := h.send(method, path+version, l.role, body)
			h.want("made again", w, http.StatusConflict, release.ReasonDeleted)
			if code, word := words(t, w); code != "Conflict" || word != "ObjectIsDeletedButRecoverable" {
				t.Errorf("code %s, inner %s", code, word)
			}

			var got shown
			h.ok("get deleted", h.get(deleted+version, l.role), &got)
			if got.url() != s.url() || got.RecoveryID != s.RecoveryID || got.Value != nil {
				t.Errorf("%+v", got)
			}
			var page struct{ Value []shown }
			h.ok("list deleted", h.get("/deleted"+l.name+version, l.role), &page)
			if len(page.Value) != 1 || page.Value[0].RecoveryID != s.RecoveryID || page.Value[0].ScheduledPurgeDate != s.ScheduledPurgeDate || page.Value[0].Attributes.RecoverableDays != 90 {
				t.Errorf("%+v", page)
			}
			var back shown
			h.ok("recover", h.send(http.MethodPost, deleted+"/recover"+version, l.role, ""), &back)
			if back.RecoveryID != "" || back.DeletedDate != 0 || back.url() != s.url() {
				t.Errorf("%+v", back)
			}
			h.ok("get", h.get(live+version, l.role), nil)
			h.want("purge of a live one", h.send(http.MethodDelete, deleted+version, l.role, ""), http.StatusNotFound, release.ReasonNotFound)
			h.ok("delete again", h.send(http.MethodDelete, live+version, l.role, ""), nil)
			w = h.send(http.MethodDelete, deleted+version, l.role, "")
			if w.Code != http.StatusNoContent || w.Body.Len() != 0 || w.Header().Get("Content-Type") != "" || w.Header().Get("Content-Length") != "" {
				t.Errorf("purge: %d %q %v", w.Code, w.Body, w.Header())
			}
			h.want("after the purge", h.get(deleted+version, l.role), http.StatusNotFound, release.ReasonNotFound)
		})
	}
}

func TestBackupAndRestore(t *testing.T) {
	for _, l := range lifecycles() {
		t.Run(l.name, func(t *testing.T) {
			h := newHarness(t)
			l.make(h, "disk")
			live, deleted := "/"+l.name+"/disk", "/deleted"+l.name+"/disk"
			var before, after shown
			h.ok("get", h.get(live+version, l.role), &before)
			w := h.send(http.MethodPost, live+"/backup"+version, l.role, "")
			h.ok("backup", w, nil)
			blob := w.Body.String()
			restore := "/" + l.name + "/restore" + version
			w = h.send(http.MethodPost, restore, l.role, blob)
			h.want("over the live one", w, http.StatusConflict, release.ReasonConflict)
			h.ok("delete", h.send(http.MethodDelete, live+version, l.role, ""), nil)
			w = h.send(http.MethodPost, restore, l.role, blob)
			h.want("over the deleted one", w, http.StatusConflict, release.ReasonDeleted)
			if _, word := words(t, w); word != "ObjectIsDeletedButRecoverable" {
				t.Error(word)
			}
			if w = h.send(http.MethodDelete, deleted+version, l.role, ""); w.Code != http.StatusNoContent {
				t.Fatal(w.Code)
			}
			for _, body := range []string{`{"value":""}`, `{"value":"AAAA"}`, `{"value":"!"}`, `{}`, strings.Replace(blob, `{"value":"`, `{"value":"A`, 1)} {
				h.want("altered", h.send(http.MethodPost, restore, l.role, body), http.StatusBadRequest, release.ReasonBackupInvalid)
			}
			h.want("two members", h.send(http.MethodPost, restore, l.role, `{"value":"AA","Value":"AA"}`), http.StatusBadRequest, release.ReasonDuplicateMember)
			other := map[string]string{"keys": "secrets", "secrets": "keys"}[l.name]
			h.want("as another kind", h.send(http.MethodPost, "/"+other+"/restore"+version, identity.RoleAdministrator, blob), http.StatusBadRequest, release.ReasonBackupInvalid)
			h.ok("restore", h.send(http.MethodPost, restore, l.role, blob), &after)
			if after.url() != before.url() || after.RecoveryID != "" {
				t.Errorf("%+v, before %+v", after, before)
			}
			h.ok("get", h.get(live+version, l.role), nil)
		})
	}
}

// TestDeletedPages: the list of deleted objects goes on where its page ended, and its
// token continues no other list.
func TestDeletedPages(t *testing.T) {
	h := newHarness(t)
	for i := range 5 {
		h.create(fmt.Sprintf("k%d", i), `{"kty":"oct"}`)
		h.ok("delete", h.send(http.MethodDelete, fmt.Sprintf("/keys/k%d%s", i, version), officer, ""), nil)
	}
	var names []string
	for next := "/deletedkeys" + version + "&maxresults=2"; next != ""; {
		var p struct {
			Value    []struct{ Kid string }
			NextLink *string
		}
		h.ok(next, h.get(next, officer), &p)
		for _, i := range p.Value {
			names = append(names, strings.TrimPrefix(i.Kid, "https://"+testHost+"/keys/"))
		}
		next = ""
		if p.NextLink != nil {
			next = strings.TrimPrefix(*p.NextLink, "https://"+testHost)
			if !strings.HasPrefix(next, "/deletedkeys?") {
				t.Fatal(next)
			}
			h.want("as another list", h.get(strings.Replace(next, "/deletedkeys", "/keys", 1), officer), http.StatusBadRequest, release.ReasonBadRequest)
		}
	}
	if got := strings.Join(names, " "); got != "k0 k1 k2 k3 k4" {
		t.Error(got)
	}
}

// TestInnerCodes: the words that clients of Key Vault look for, and ours inside.
func TestInnerCodes(t *testing.T) {
	h := newHarness(t)
	h.create("off", `{"kty":"EC","attributes":{"enabled":false}}`)
	h.create("over", `{"kty":"EC","attributes":{"exp":1}}`)
	h.create("early", `{"kty":"EC","attributes":{"nbf":4000000000}}`)
	h.ok("set", h.send(http.MethodPut, "/secrets/off"+version, identity.RoleSecretsOfficer, `{"value":"x","attributes":{"enabled":false}}`), nil)
	sign := `{"alg":"ES256","value":"` + strings.Repeat("A", 43) + `"}`
	for _, c := range []struct {
		name, word string
		reason     release.Reason
		answer     *httptest.ResponseRecorder
	}{
		{"disabled", "KeyDisabled", release.ReasonKeyDisabled, h.send(http.MethodPost, "/keys/off/sign"+version, officer, sign)},
		{"expired", "KeyExpired", release.ReasonKeyExpired, h.send(http.MethodPost, "/keys/over/sign"+version, officer, sign)},
		{"early", "KeyNotYetValid", release.ReasonKeyNotYetValid, h.send(http.MethodPost, "/keys/early/sign"+version, officer, sign)},
		{"secret", "SecretDisabled", release.ReasonSecretDisabled, h.get("/secrets/off"+version, identity.RoleSecretsOfficer)},
		{"no role", "ForbiddenByRbac", release.ReasonForbidden, h.get("/keys/off"+version, identity.RoleMachineOperator)},
		{"native door", string(release.ReasonForbidden), release.ReasonForbidden, h.get("/v1/vaults", identity.RoleMachineOperator)},
	} {
		h.want(c.name, c.answer, http.StatusForbidden, c.reason)
		if code, word := words(t, c.answer); code != "Forbidden" || word != c.word {
			t.Errorf("%s: %s, %s, want %s", c.name, code, word, c.word)
		}
	}
}

// TestLargeBackup: what a backup may hold goes through the door and back.
func TestLargeBackup(t *testing.T) {
	h := newHarness(t)
	body := `{"value":"` + strings.Repeat("x", 20<<10) + `"}`
	for range 350 {
		h.ok("set", h.send(http.MethodPut, "/secrets/big"+version, identity.RoleSecretsOfficer, body), nil)
	}
	w := h.send(http.MethodPost, "/secrets/big/backup"+version, identity.RoleSecretsOfficer, "")
	h.ok("backup", w, nil)
	blob := w.Body.String()
	if len(blob) < 9<<20 {
		t.Errorf("a backup of %d bytes tests nothing", len(blob))
	}
	h.ok("delete", h.send(http.MethodDelete, "/secrets/big"+version, identity.RoleSecretsOfficer, ""), nil)
	if w = h.send(http.MethodDelete, "/deletedsecrets/big"+version, identity.RoleSecretsOfficer, ""); w.Code != http.StatusNoContent {
		t.Fatal(w.Code)
	}
	h.ok("restore", h.send(http.MethodPost, "/secrets/restore"+version, identity.RoleSecretsOfficer, blob), nil)
	for range 100 {
		h.ok("set", h.send(http.MethodPut, "/secrets/big"+version, identity.RoleSecretsOfficer, body), nil)
	}
	h.want("too large", h.send(http.MethodPost, "/secrets/big/backup"+version, identity.RoleSecretsOfficer, ""), http.StatusConflict, release.ReasonConflict)
	h.want("body too large", h.send(http.MethodPost, "/secrets/restore"+version, identity.RoleSecretsOfficer, `{"value":"`+strings.Repeat("A", 12<<20)+`"}`), http.StatusRequestEntityTooLarge, release.ReasonTooLarge)
}
