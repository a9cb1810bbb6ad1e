package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/api/route"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// TestNoOracle is RB-12: whoever has no right there gets one answer, status, headers and
// body, about what is live, deleted, or never was, in a vault that is there and in one
// that is not. And the same work is done for it: nothing but the caller is read, so that
// the time of the answer cannot tell either (cmd/openskr's BenchmarkOracle measures it).
func TestNoOracle(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Suffixes = []string{roleSuffix} })
	h.vaultWithObjects("own")
	_, elsewhere := h.at(identity.RoleCryptoOfficer, "/vaults/own/keys/live2")
	callers := map[string]string{"no role": h.token(""), "a role elsewhere": elsewhere, "a role for machines": h.token(identity.RoleMachineOperator)}
	routes := 0
	for _, r := range h.handler.(*funnel).routes() {
		if r.Access != route.Role || r.Door != release.DoorKeyVault || !strings.Contains(r.Path, ":name") {
			continue
		}
		routes++
		for who, token := range callers {
			seen := map[string]string{}
			for _, host := range []string{"own." + roleSuffix, "nowhere." + roleSuffix} {
				for _, name := range []string{"live", "gone", "never"} {
					seen[h.refusedWork(who, r, request{host: host, path: concrete(strings.Replace(r.Path, ":name", name, 1)), token: token})] += " " + host + "/" + name
				}
			}
			if len(seen) != 1 {
				t.Errorf("%s: %s %s tells what is there: %v", who, r.Method, r.Path, seen)
			}
		}
	}
	if routes < 25 {
		t.Errorf("only %d routes name an object", routes)
	}
}

// refusedWork asks for what is refused, and gives everything about the answer and what
// was done for it that must not differ.
func (h *harness) refusedWork(who string, r *route.Route, req request) string {
	h.t.Helper()
	if req.method = r.Method; r.Method != http.MethodGet {
		req.body = "{}"
	}
	var work []string
	h.store.Before = func(method string) { work = append(work, method) }
	w := h.do(req)
	h.store.Before = nil
	name := who + ": " + r.Method + " " + req.host + req.path
	h.want(name, w, http.StatusForbidden, release.ReasonForbidden)
	if i := slices.IndexFunc(work, func(m string) bool { return m != "Object" && m != "Append" }); i >= 0 {
		h.t.Errorf("%s: %s before the refusal", name, work[i])
	}
	return strings.ReplaceAll(fmt.Sprint(w.Header(), w.Body, work), w.Header().Get("x-ms-request-id"), "")
}
