package api

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// tenth has a tenth of Key Vault's rates: 400 uses, 2 new keys, 30 new secrets in 10 s.
func tenth(c *Config) { c.Throttle = 0.1 }

// throttled wants a 429 and gives its Retry-After.
func (h *harness) throttled(what string, w *httptest.ResponseRecorder) int {
	h.t.Helper()
	h.want(what, w, http.StatusTooManyRequests, release.ReasonThrottled)
	retry, err := strconv.Atoi(w.Header().Get("Retry-After"))
	if err != nil || retry < 1 {
		h.t.Errorf("%s: Retry-After %q", what, w.Header().Get("Retry-After"))
	}
	return retry
}

// TestThrottle: one principal in one vault, before anything is looked up or written,
// and nobody else.
func TestThrottle(t *testing.T) {
	h := newHarness(t, tenth)
	get := func(role string) *httptest.ResponseRecorder {
		return h.send(http.MethodGet, "/keys/k?api-version=7.4", role, "")
	}
	h.create("k", `{"kty":"oct"}`)
	for i := range 400 {
		if w := get(cryptoUser); w.Code != http.StatusOK {
			t.Fatalf("request %d: %d %s", i, w.Code, w.Body)
		}
	}
	records := len(h.store.Leaves)
	for path, method := range map[string]string{
		"/keys/k?api-version=7.4": http.MethodGet, "/keys/none?api-version=7.4": http.MethodGet, // as if nothing were there
		"/keys/k/decrypt": http.MethodPost, "/keys/-_-/x": http.MethodGet, // nor is body, query or path judged
	} {
		if path == "/keys/-_-/x" {
			h.want(path, h.send(method, path, cryptoUser, ""), http.StatusTooManyRequests, release.ReasonThrottled)
			continue
		}
		if retry := h.throttled(path, h.send(method, path, cryptoUser, "<")); retry != 1 {
			t.Errorf("%s: after %d s", path, retry)
		}
	}
	if len(h.store.Leaves) != records || h.store.Counted[release.ReasonThrottled] == 0 {
		t.Errorf("%d records more, %v", len(h.store.Leaves)-records, h.store.Counted)
	}
	others := []int{}
	for _, role := range []string{identity.RoleReader, identity.RoleAdministrator, officer} { // one may share its bucket, by chance
		others = append(others, get(role).Code)
	}
	if !slices.Contains(others, http.StatusOK) {
		t.Errorf("other principals: %v", others)
	}
	h.now = h.now.Add(25 * time.Millisecond) // 40 units a second
	h.ok("a unit later", get(cryptoUser), nil)
	h.throttled("and spent", get(cryptoUser))
	h.now = h.now.Add(time.Minute)
	h.ok("a minute later", get(cryptoUser), nil)
}

// New keys have a rate of their own.
func TestThrottleCreation(t *testing.T) {
	h := newHarness(t, tenth)
	create := func() *httptest.ResponseRecorder {
		return h.send(http.MethodPost, "/keys/k/create?api-version=7.4", officer, `{"kty":"oct"}`)
	}
	h.ok("first", create(), nil)
	h.ok("second", create(), nil)
	if retry := h.throttled("third", create()); retry != 5 {
		t.Errorf("a fifth of a key a second, and Retry-After %d", retry)
	}
	h.ok("use", h.send(http.MethodGet, "/keys/k?api-version=7.4", officer, ""), nil)
	h.now = h.now.Add(5 * time.Second)
	h.ok("when it said", create(), nil)
	h.throttled("fourth", create())
}

// An operation on a longer key costs what Key Vault says, and the next ones pay it.
func TestThrottleWeights(t *testing.T) {
	for size, ops := range map[string]int{"2048": 400, "3072": 100} {
		h := newHarness(t, tenth)
		h.create("k", `{"kty":"RSA","key_size":`+size+`}`)
		done := 0
		for done <= 400 && h.use("/keys/k/verify", `{"alg":"PS256","digest":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","value":"AA"}`).Code == http.StatusOK {
			done++
		}
		if done != ops {
			t.Errorf("%d operations on a key of %s bits, want %d", done, size, ops)
		}
		// an operation that is refused for its members costs one like any other
		h.throttled("and nothing more", h.send(http.MethodGet, "/keys/k?api-version=7.4", cryptoUser, ""))
	}
}

// Vaults are apart, and all together are five: a principal that names a new one each
// time has a limit as well, and each of its refusals is a durable record.
func TestThrottleByVault(t *testing.T) {
	h := newHarness(t, tenth, func(c *Config) { c.Suffixes = []string{"vault.local:8443"} })
	token := h.token(identity.RoleMachineOperator)
	ask := func(vault string) int {
		req := httptest.NewRequest(http.MethodGet, "https://"+vault+".vault.local:8443/keys?api-version=7.4", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, req)
		return w.Code
	}
	codes := map[int]int{}
	for range 500 {
		codes[ask("first")]++
	}
	if codes[http.StatusForbidden] != 400 || codes[http.StatusTooManyRequests] != 100 || len(h.store.Leaves) != 400 {
		t.Errorf("one vault: %v, %d records", codes, len(h.store.Leaves))
	}
	clear(codes)
	for i := range 2000 {
		codes[ask("vault"+strconv.Itoa(i))]++
	}
	if codes[http.StatusForbidden] != 1600 || codes[http.StatusTooManyRequests] != 400 {
		t.Errorf("a new vault each time: %v", codes)
	}
}

// The names by which meterOf knows routes are names of routes.
func TestMeters(t *testing.T) {
	h, seen := newHarness(t), map[meter][]string{}
	for _, r := range h.handler.(*funnel).routes() {
		if m := meterOf(r); m != uses {
			seen[m] = append(seen[m], r.Name)
		}
	}
	for m, names := range map[meter][]string{keysMade: {"keys/create", "keys/import"}, secretsSet: {"secrets/set"}} {
		for _, name := range names {
			if !slices.Contains(seen[m], name) {
				t.Errorf("no route %s, or on another meter: %v", name, seen[m])
			}
		}
	}
}
