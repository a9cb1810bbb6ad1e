package api

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	v1 "github.com/openskr/openskr/internal/api/v1"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
	rt "github.com/openskr/openskr/release/releasetest"
)

// fakeTokens is a token broker that gives what it is told to.
type fakeTokens struct{ requests []release.Request }

func (f *fakeTokens) Token(_ context.Context, r release.Request) (*release.Released, error) {
	f.requests = append(f.requests, r)
	return &release.Released{Response: "a.b.c"}, nil
}

func (f *fakeTokens) ParseVault(url string) (string, error) {
	if url != "https://"+testHost {
		return "", errors.New("no vault")
	}
	return "default", nil
}

// attest makes the attested roles, whose tokens have the key of access tokens.
func (h *harness) attest(key *ecdsa.PrivateKey) {
	h.t.Helper()
	h.attested, h.tokenKey = h.attestedFor(testDeployment, key), key
}

func (h *harness) attestedFor(deployment string, key *ecdsa.PrivateKey) *identity.Attested {
	h.t.Helper()
	pinned, err := jose.NewKeys(&key.PublicKey)
	h.must(err)
	signer, err := jose.NewSigner(key, jose.TypeAttestedToken)
	h.must(err)
	a, err := identity.NewAttested(identity.AttestedConfig{
		Deployment: deployment, Objects: h.store, Signer: signer, Keys: pinned, Settings: func() receipt.Digest { return h.settings }, Now: func() time.Time { return h.now },
		Check: func(_ context.Context, p release.ReleasePolicy) error {
			if bytes.Contains(p.Data, []byte("syntax error")) {
				return release.Refuse(release.ReasonPolicyInvalid, "line 3, column 7: unexpected token")
			}
			return nil
		},
	})
	h.must(err)
	return a
}

// attestedToken makes one of machine m1, as a token broker does.
func (h *harness) attestedToken(by *identity.Attested, change ...func(*rt.Ports)) string {
	h.t.Helper()
	p := rt.NewPorts()
	p.Time = h.now
	for _, f := range change {
		f(p)
	}
	c := p.Config()
	c.Settings = func() receipt.Digest { return h.settings }
	b, err := release.New(c)
	h.must(err)
	tokens, err := release.NewTokenBroker(b, release.TokenConfig{
		Roles: by, ParseVault: func(string) (string, error) { return "default", nil },
	})
	h.must(err)
	out, err := tokens.Token(h.t.Context(), rt.Request(rt.RuntimeData(rt.ForVault)))
	h.must(err)
	var r receipt.Response
	h.must(json.Unmarshal([]byte(out.Response), &r))
	token, ok := strings.CutPrefix(string(r.Ciphertext), "wrapped ")
	if !ok {
		h.t.Fatalf("wrapped as %q", r.Ciphertext)
	}
	return token
}

func (h *harness) putAttested(name, role, scope string) {
	h.t.Helper()
	body, err := json.Marshal(v1.AttestedRoleBody{Role: role, Scope: scope, Policy: "package release"})
	h.must(err)
	h.ok(name, h.send(http.MethodPut, "/v1/attested-roles/"+name, identity.RoleIdentityAdmin, string(body)), nil)
}

func (h *harness) as(token, method, path, body string) (int, string) {
	h.t.Helper()
	r := request{method: method, path: path + "?api-version=7.4", token: token, body: body}
	if strings.HasPrefix(path, "/v1/") {
		r.path = path
	}
	if body != "" {
		r.contentType = "application/json"
	}
	w := h.do(r)
	if w.Code/100 == 2 {
		return w.Code, ""
	}
	return h.refusal(w)
}

// m1 writes the row of the machine of attestedToken.
func (h *harness) m1(status string) {
	h.t.Helper()
	value, err := json.Marshal(release.Enrolled{Status: status})
	h.must(err)
	_, err = h.store.ChangeObject(h.t.Context(), &release.Record{}, release.ObjectMachine, "m1", func(*release.Object) ([]byte, error) { return value, nil })
	h.must(err)
}

// attestedHarness has one key, machine m1 and a role for it to read the default vault.
func attestedHarness(t *testing.T) *harness {
	h := newHarness(t, func(c *Config) { c.Suffixes = []string{"vaults.test"} })
	h.create("disk", `{"kty":"EC"}`)
	h.m1(release.MachineApproved)
	h.putAttested("readers", identity.RoleReader, "/")
	return h
}

// TestAttestedTokenReads: it reads in its vault, and nothing else.
func TestAttestedTokenReads(t *testing.T) {
	h := attestedHarness(t)
	token := h.attestedToken(h.attested)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{http.MethodGet, "/keys/disk", "", http.StatusOK},
		{http.MethodGet, "/keys", "", http.StatusOK},
		{http.MethodPost, "/keys/other/create", `{"kty":"EC"}`, http.StatusForbidden},
		{http.MethodPatch, "/keys/disk", `{"tags":{"a":"b"}}`, http.StatusForbidden},
		{http.MethodPost, "/keys/disk/sign", `{"alg":"ES256","value":"AA"}`, http.StatusForbidden},
		{http.MethodGet, "/v1/attested-roles", "", http.StatusForbidden},
		{http.MethodPut, "/v1/attested-roles/more", `{"role":"Key Vault Reader","scope":"/","policy":"package release"}`, http.StatusForbidden},
		{http.MethodDelete, "/v1/attested-roles/readers", "", http.StatusForbidden},
		{http.MethodGet, "/v1/machines", "", http.StatusForbidden},
		{http.MethodGet, "/v1/log/checkpoint", "", http.StatusForbidden},
	} {
		if status, reason := h.as(token, c.method, c.path, c.body); status != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, status, reason, c.status)
		}
	}
	w := h.do(request{method: http.MethodGet, path: "/keys/disk?api-version=7.4", token: token, host: "other.vaults.test"})
	if w.Code != http.StatusForbidden {
		t.Errorf("another vault: %d", w.Code)
	}
	if r := h.lastRecord(); r.Caller.Kind != "machine" || r.Caller.ID != "m1" {
		t.Errorf("recorded as %+v", r.Caller)
	}
}

// TestAttestedTokenOvertaken: whatever it rests on is read at every use.
func TestAttestedTokenOvertaken(t *testing.T) {
	for name, change := range map[string]func(h *harness){
		"machine denied":        func(h *harness) { h.m1(release.MachineDenied) },
		"machine pending":       func(h *harness) { h.m1(release.MachinePending) },
		"machine approved anew": func(h *harness) { h.m1(release.MachineApproved) },
		"role removed": func(h *harness) {
			h.ok("remove", h.send(http.MethodDelete, "/v1/attested-roles/readers", identity.RoleIdentityAdmin, ""), nil)
		},
		"role changed": func(h *harness) { h.putAttested("readers", identity.RoleReader, "/vaults/default") },
		"role removed and made again": func(h *harness) {
			h.ok("remove", h.send(http.MethodDelete, "/v1/attested-roles/readers", identity.RoleIdentityAdmin, ""), nil)
			h.putAttested("readers", identity.RoleReader, "/")
		},
		"configuration":       func(h *harness) { h.settings = receipt.Digest{1} },
		"time":                func(h *harness) { h.now = h.now.Add(release.AttestedTokenLife) },
		"clock before it was": func(h *harness) { h.now = h.now.Add(-time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			h := attestedHarness(t)
			token := h.attestedToken(h.attested)
			if status, reason := h.as(token, http.MethodGet, "/keys/disk", ""); status != http.StatusOK {
				t.Fatalf("before: %d %s", status, reason)
			}
			change(h)
			if status, reason := h.as(token, http.MethodGet, "/keys/disk", ""); status != http.StatusUnauthorized || reason != string(release.ReasonUnauthorized) {
				t.Errorf("after: %d %s", status, reason)
			}
		})
	}
}

// TestAttestedTokenOfUnlistedHardware ends when an operator writes its name down.
func TestAttestedTokenOfUnlistedHardware(t *testing.T) {
	h := attestedHarness(t)
	delete(h.store.Docs, release.ObjectMachine+"/m1")
	unlisted := func(p *rt.Ports) {
		p.Result.Type = attest.TypeSNP
		p.Fail[rt.CallMachine] = release.Refuse(release.ReasonMachineUnknown, "none")
	}
	token := h.attestedToken(h.attested, unlisted)
	if status, reason := h.as(token, http.MethodGet, "/keys/disk", ""); status != http.StatusOK {
		t.Fatalf("unlisted: %d %s", status, reason)
	}
	h.m1(release.MachineDenied)
	if status, _ := h.as(token, http.MethodGet, "/keys/disk", ""); status != http.StatusUnauthorized {
		t.Errorf("denied since: %d", status)
	}
}

// TestAttestedTokenOfAnother deployment, or signed by no key of ours, is nobody's.
func TestAttestedTokenOfAnother(t *testing.T) {
	h := attestedHarness(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	h.must(err)
	good := h.attestedToken(h.attested)
	for name, token := range map[string]string{
		"key": h.attestedToken(h.attestedFor(testDeployment, key)), "altered": good[:len(good)-8] + "AAAAAAAA",
		"deployment": h.attestedToken(h.attestedFor("another", h.tokenKey)), // of the same key, as a copy of a store has
		"type":       h.retyped(good, jose.TypeAccessToken), "no type": h.retyped(good, ""),
		"principal's, as a machine's": h.retyped(h.token(identity.RoleAdministrator), jose.TypeAttestedToken),
	} {
		if status, _ := h.as(token, http.MethodGet, "/keys/disk", ""); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
	}
}

// retyped signs the claims of a token anew, under another typ.
func (h *harness) retyped(token, typ string) string {
	h.t.Helper()
	signer, err := jose.NewSigner(h.tokenKey, typ)
	h.must(err)
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	h.must(err)
	out, err := signer.Sign(claims)
	h.must(err)
	return out
}

// TestAttestedRoles: a machine gets roles that only read and release, at scopes that
// can be, by policies that compile.
func TestAttestedRoles(t *testing.T) {
	h := newHarness(t)
	const path = "/v1/attested-roles/one"
	body := func(role, scope, policy string) string {
		b, err := json.Marshal(v1.AttestedRoleBody{Role: role, Scope: scope, Policy: policy})
		h.must(err)
		return string(b)
	}
	put := func(path, body string) *httptest.ResponseRecorder {
		return h.send(http.MethodPut, path, identity.RoleIdentityAdmin, body)
	}
	var r v1.AttestedRole
	for _, role := range identity.Roles() {
		readOnly := map[string]bool{
			identity.RoleReader: true, identity.RoleReleaseUser: true, identity.RoleSecretsUser: true, "Managed HSM Crypto Service Release User": true,
		}[role.Name]
		w := put(path, body(role.Name, "/vaults/default/keys/disk", "package release"))
		if !readOnly {
			h.want(role.Name, w, http.StatusBadRequest, release.ReasonBadRequest)
			continue
		}
		r = v1.AttestedRole{}
		h.ok(role.Name, w, &r)
		if r.Name != "one" || r.Role != role.Name || r.Scope != "/vaults/default/keys/disk" || r.Policy != "package release" || r.Created != h.now.Unix() {
			t.Errorf("%+v", r)
		}
		if rec := h.lastRecord(); rec.Operation != "attested-roles/put" || rec.Object != "one" || rec.Policy == (receipt.Digest{}) || rec.Detail["role"] != role.Name || rec.Detail["scope"] != r.Scope {
			t.Errorf("%+v", rec)
		}
	}
	for _, scope := range []string{
		"", "vaults/default", "/vaults", "/vaults/", "/vaults/default/", "/vaults/Default", "/vaults/default/certificates", "/vaults/default/keys/Disk", "/keys", "//", "/vaults/default/keys/a/b",
	} {
		h.want(scope, put(path, body(identity.RoleReader, scope, "package release")), http.StatusBadRequest, release.ReasonBadRequest)
	}
	h.want("no policy", put(path, body(identity.RoleReader, "/", "")), http.StatusBadRequest, release.ReasonBadRequest)
	h.want("no such role", put(path, body("Reader", "/", "package release")), http.StatusBadRequest, release.ReasonBadRequest)
	h.want("bad policy", put(path, body(identity.RoleReader, "/", "syntax error")), http.StatusBadRequest, release.ReasonPolicyInvalid)
	h.want("name", put("/v1/attested-roles/One", body(identity.RoleReader, "/", "package release")), http.StatusBadRequest, release.ReasonBadRequest)
	for _, role := range []string{identity.RoleAdministrator, identity.RoleMachineOperator} {
		h.want(role, h.send(http.MethodPut, path, role, body(identity.RoleReader, "/", "package release")), http.StatusForbidden, release.ReasonForbidden)
	}

	var list v1.AttestedRoleList
	h.ok("list", h.get("/v1/attested-roles", identity.RoleAuditor), &list)
	if len(list.Value) != 1 || list.Value[0] != r {
		t.Errorf("%+v", list)
	}
	h.ok("remove", h.send(http.MethodDelete, path, identity.RoleIdentityAdmin, ""), nil)
	h.want("removed", h.get(path, identity.RoleAuditor), http.StatusNotFound, release.ReasonNotFound)
	h.want("removed twice", h.send(http.MethodDelete, path, identity.RoleIdentityAdmin, ""), http.StatusNotFound, release.ReasonNotFound)
	list = v1.AttestedRoleList{}
	h.ok("list", h.get("/v1/attested-roles", identity.RoleAuditor), &list)
	if len(list.Value) != 0 || list.Value == nil {
		t.Errorf("%+v", list)
	}
}

// TestManyAttestedRoles: as many as are evaluated for one token, and no more.
func TestManyAttestedRoles(t *testing.T) {
	h := newHarness(t)
	body := `{"role":"Key Vault Reader","scope":"/","policy":"package release"}`
	for i := range 32 {
		h.putAttested(fmt.Sprintf("r%d", i), identity.RoleReader, "/")
	}
	h.want("one more", h.send(http.MethodPut, "/v1/attested-roles/more", identity.RoleIdentityAdmin, body), http.StatusConflict, release.ReasonConflict)
	h.putAttested("r7", identity.RoleSecretsUser, "/")
	h.ok("remove", h.send(http.MethodDelete, "/v1/attested-roles/r0", identity.RoleIdentityAdmin, ""), nil)
	h.putAttested("more", identity.RoleReader, "/")
}

func TestTokenChallenge(t *testing.T) {
	h := newHarness(t)
	const good = `{"purpose":"token","vault":"https://` + testHost + `"}`
	var c binding.Challenge
	h.ok("challenge", h.do(request{method: http.MethodPost, path: "/v1/challenge", body: good}), &c)
	scopes := h.config.Issuer.(*fakeIssuer).scopes
	if len(scopes) != 1 || scopes[0] != (release.Scope{Purpose: "token", Key: "https://" + testHost}) {
		t.Errorf("%+v", scopes)
	}
	for _, body := range []string{
		strings.Replace(good, testHost, "evil.example", 1), strings.Replace(good, `"}`, `","key":"https://`+testHost+`/keys/disk"}`, 1),
		strings.Replace(good, "token", "release", 1), strings.Replace(challengeBody, `"}`, `","vault":"https://`+testHost+`"}`, 1),
	} {
		if _, reason := h.post("/v1/challenge", body); reason != string(release.ReasonBadRequest) {
			t.Errorf("%s: %s", body, reason)
		}
	}
}

func TestTokenRequest(t *testing.T) {
	h := newHarness(t)
	var got binding.ReleaseResponse
	h.ok("token", h.do(request{method: http.MethodPost, path: "/v1/token", body: releaseBody}), &got)
	asked := h.config.Tokens.(*fakeTokens).requests
	if got.Response != "a.b.c" || len(asked) != 1 || asked[0].Door != release.DoorNative || asked[0].Evidence.Type != attest.TypeTPM ||
		string(asked[0].Evidence.RuntimeData) != "{}" || len(asked[0].Evidence.Endorsements) != 1 || asked[0].Correlation == "" || asked[0].Digest == [32]byte{} {
		t.Errorf("%+v %+v", got, asked)
	}
	if _, reason := h.post("/v1/token", `{"runtime_data":"e30","evidence":{}}`); reason != string(release.Reason(attest.CheckMalformed)) {
		t.Errorf("evidence of no type: %s", reason)
	}
}
