package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/openskr/openskr/internal/api/v1"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

func addBody(n int) string {
	entries := make([]string, n)
	for i := range entries {
		entries[i] = fmt.Sprintf(`{"kind":"pcr4","value":"%064x"}`, i)
	}
	return `{"entries":[` + strings.Join(entries, ",") + `]}`
}

func TestReferences(t *testing.T) {
	h := newHarness(t)
	operator, value := identity.RoleMachineOperator, strings.Repeat("ab", 32)
	body := fmt.Sprintf(`{"entries":[{"kind":"pcr4","value":"%s","label":"debian","until":%d},{"kind":"pcr7","value":"%s","from":%d}]}`,
		value, h.now.Unix()+60, value, h.now.Unix()+50)
	var page v1.ReferencePage
	h.ok("add", h.send(http.MethodPost, "/v1/references/web", operator, body), &page)
	if len(page.Value) != 2 || page.Value[0].State != "active" || page.Value[1].State != "staged" || page.Value[0].Updated != h.now.Unix() || page.Next != "" {
		t.Errorf("%+v", page)
	}
	rec := h.lastRecord()
	if rec.Operation != "references/add" || rec.Object != "web" || rec.Caller.Kind != "principal" || rec.Caller.ID == "" || rec.Kind != receipt.KindChange || len(h.store.Leaves) != 2 {
		t.Errorf("%+v", rec)
	}
	if web := h.references["web"].(map[string]any); len(web) != 1 || web["pcr4"] == nil {
		t.Errorf("policies see %v", h.references)
	}
	var sets v1.ReferenceSets
	h.ok("sets", h.get("/v1/references?limit=1", identity.RoleAuditor), &sets)
	if len(sets.Value) != 1 || sets.Next != "filed" || !sets.Value[0].File {
		t.Errorf("%+v", sets)
	}
	sets = v1.ReferenceSets{}
	h.ok("sets", h.get("/v1/references?limit=1&after=filed", identity.RoleAuditor), &sets)
	if len(sets.Value) != 1 || sets.Next != "" || sets.Value[0].Active != 1 || sets.Value[0].Staged != 1 {
		t.Errorf("%+v", sets)
	}
	var one v1.Reference
	h.ok("retire", h.send(http.MethodPost, "/v1/references/web/retire", operator, `{"kind":"pcr4","value":"`+value+`"}`), &one)
	if one.State != "retired" || one.Until != h.now.Unix() || one.Label != "debian" || h.lastRecord().Operation != "references/retire" {
		t.Errorf("%+v", one)
	}
	if web := h.references["web"].(map[string]any); len(web) != 0 {
		t.Errorf("policies see %v", h.references)
	}
	h.ok("empty", h.get("/v1/references/filed", identity.RoleAuditor), &page)
}

// TestReferencePages walks a set in pages: each entry once, in order.
func TestReferencePages(t *testing.T) {
	h := newHarness(t)
	h.ok("add", h.send(http.MethodPost, "/v1/references/web", identity.RoleMachineOperator, addBody(256)), nil)
	var last, after string
	seen := 0
	for pages := 0; ; pages++ {
		var page v1.ReferencePage
		h.ok("page", h.get("/v1/references/web?limit=100"+after, identity.RoleAuditor), &page)
		for _, r := range page.Value {
			if r.Value <= last {
				t.Fatalf("%s after %s", r.Value, last)
			}
			last = r.Value
			seen++
		}
		if page.Next == "" {
			if pages != 2 {
				t.Errorf("%d pages", pages+1)
			}
			break
		}
		after = "&after=" + strings.ReplaceAll(page.Next, "/", "%2F")
	}
	if seen != 256 {
		t.Errorf("%d entries", seen)
	}
}

func TestReferenceRefusals(t *testing.T) {
	h := newHarness(t)
	operator, value := identity.RoleMachineOperator, strings.Repeat("ab", 32)
	good := `{"entries":[{"kind":"pcr4","value":"` + value + `"}]}`
	h.ok("add", h.send(http.MethodPost, "/v1/references/web", operator, good), nil)
	for _, c := range []struct {
		name, path, body string
		want             release.Reason
	}{
		{"no entries", "web", `{"entries":[]}`, release.ReasonBadRequest},
		{"null", "web", `{"entries":null}`, release.ReasonBadRequest},
		{"too many", "web", addBody(257), release.ReasonBadRequest},
		{"kind", "web", strings.Replace(good, "pcr4", "pcr24", 1), release.ReasonBadRequest},
		{"value", "web", strings.Replace(good, "ab", "AB", 1), release.ReasonBadRequest},
		{"text as time", "web", strings.Replace(good, `"kind"`, `"from":"2027","kind"`, 1), release.ReasonBadRequest},
		{"unknown member", "web", strings.Replace(good, `"kind"`, `"Kind":"x","kind"`, 1), release.ReasonUnknownMember},
		{"duplicate", "web", strings.Replace(good, `"kind"`, `"kind":"x","kind"`, 1), release.ReasonDuplicateMember},
		{"set name", "Web", good, release.ReasonBadRequest},
		{"set of the file", "filed", good, release.ReasonConflict},
		{"another label", "web", strings.Replace(good, `"kind"`, `"label":"x","kind"`, 1), release.ReasonConflict},
		{"retire the past", "web/retire", `{"kind":"pcr4","value":"` + value + `","at":1}`, release.ReasonBadRequest},
		{"retire negative", "web/retire", `{"kind":"pcr4","value":"` + value + `","at":-1}`, release.ReasonBadRequest},
	} {
		n := len(h.store.Leaves)
		_, reason := h.refusal(h.send(http.MethodPost, "/v1/references/"+c.path, operator, c.body))
		if reason != string(c.want) || len(h.store.Leaves) != n+1 || h.lastRecord().Decision != receipt.Deny || h.lastRecord().Reason != reason {
			t.Errorf("%s: %s, want %s and a record of it", c.name, reason, c.want)
		}
	}
	h.ok("replaced", h.send(http.MethodPost, "/v1/references/web", operator, strings.Replace(good, `"kind"`, `"label":"x","kind"`, 1)[:len(good)+11]+`,"replace":true}`), nil)
	h.want("retire unknown", h.send(http.MethodPost, "/v1/references/web/retire", operator, `{"kind":"pcr7","value":"`+value+`"}`), http.StatusNotFound, release.ReasonNotFound)
	h.want("unknown set", h.get("/v1/references/none", identity.RoleAuditor), http.StatusNotFound, release.ReasonNotFound)
	h.want("limit", h.get("/v1/references/web?limit=257", identity.RoleAuditor), http.StatusBadRequest, release.ReasonBadRequest)
	for _, role := range []string{identity.RoleAdministrator, identity.RoleAuditor, identity.RoleReader} {
		h.want(role, h.send(http.MethodPost, "/v1/references/web", role, good), http.StatusForbidden, release.ReasonForbidden)
	}
}
