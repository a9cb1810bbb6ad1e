package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
)

// TestKeyRelease: the broker hears what the client asked for and who it is, and the
// answer has the members of wire format §3.2.
func TestKeyRelease(t *testing.T) {
	h := newHarness(t)
	var out struct{ Value string }
	w := h.send(http.MethodPost, "/keys/Disk//release?api%2Dversion=7.3", identity.RoleReleaseUser,
		`{"Target":"a.b.c","nonce":"ADE0101","enc":"RSA_AES_KEY_WRAP_256","later":1}`)
	h.ok("release", w, &out)
	req := h.broker.onToken[0]
	if req.Key != (release.KeyRef{Vault: "default", Name: "Disk"}) || req.URL != "https://"+testHost+"/keys/Disk" || req.Enc != "RSA_AES_KEY_WRAP_256" ||
		req.Token != "a.b.c" || req.Caller.Kind != "principal" || req.Caller.ID == "" || len(req.Caller.Roles) != 1 || req.Digest == [32]byte{} || len(req.Right) == 0 {
		t.Errorf("%+v", req)
	}
	host, payload, _ := strings.Cut(out.Value, "|")
	if host != testHost {
		t.Errorf("signed for %s", host)
	}
	var a struct {
		Request  map[string]string `json:"request"`
		Response struct {
			Key struct {
				Key struct {
					KID    string   `json:"kid"`
					Kty    string   `json:"kty"`
					KeyOps []string `json:"key_ops"`
					HSM    string   `json:"key_hsm"`
				} `json:"key"`
				Attributes map[string]any    `json:"attributes"`
				Tags       map[string]string `json:"tags"`
				Policy     map[string]any    `json:"release_policy"`
			} `json:"key"`
		} `json:"response"`
		Receipt release.Receipt `json:"receipt"`
	}
	if err := json.Unmarshal([]byte(payload), &a); err != nil {
		t.Fatal(err)
	}
	if a.Request["kid"] != "https://"+testHost+"/keys/Disk" || a.Request["nonce"] != "ADE0101" || a.Request["api-version"] != "7.3" ||
		a.Request["enc"] != "RSA_AES_KEY_WRAP_256" || string(a.Receipt.Leaf) != "leaf" {
		t.Errorf("%s", payload)
	}
	k := a.Response.Key
	if k.Key.KID != "https://"+testHost+"/keys/Disk/"+testVersion || k.Tags == nil || k.Key.KeyOps == nil || k.Policy["data"] != "e30" || k.Attributes["created"] != 1.0 || k.Attributes["recoveryLevel"] != "Recoverable+Purgeable" {
		t.Errorf("%s", payload)
	}
	inner, err := base64.RawURLEncoding.DecodeString(k.Key.HSM)
	if err != nil || string(inner) !=
		`{"schema_version":"1.0","header":{"kid":"target","alg":"dir","enc":"RSA_AES_KEY_WRAP_256"},"ciphertext":"`+base64.RawURLEncoding.EncodeToString([]byte("sealed"))+`"}` {
		t.Errorf("%s, %v", inner, err)
	}
}

// TestKeyReleaseDefaults: no enc is Key Vault's default, and a nonce is nobody's duty.
func TestKeyReleaseDefaults(t *testing.T) {
	h := newHarness(t)
	h.ok("bare", h.send(http.MethodPost, "/keys/disk/"+testVersion+"/release?api-version=7.4", identity.RoleReleaseUser, `{"target":"a.b.c"}`), nil)
	req := h.broker.onToken[0]
	if req.Enc != "CKM_RSA_AES_KEY_WRAP" || req.Key.Version != testVersion || req.URL != "https://"+testHost+"/keys/disk/"+testVersion {
		t.Errorf("%+v", req)
	}
}

func TestKeyReleaseRefused(t *testing.T) {
	h := newHarness(t)
	path := "/keys/disk/release?api-version=7.4"
	for body, want := range map[string]release.Reason{
		`{}`:                                  release.ReasonBadRequest,
		`{"target":"a.b.c","enc":"RSA1_5"}`:   release.ReasonWrapAlg,
		`{"target":"a.b.c","Target":"a.b.c"}`: release.ReasonDuplicateMember,
		`{"target":"a.b.c","encs":"x"}`:       release.ReasonUnknownMember,
		`{"target":"a.b.c","nonce":"` + strings.Repeat("n", 1025) + `"}`: release.ReasonBadRequest,
	} {
		h.want(body, h.send(http.MethodPost, path, identity.RoleReleaseUser, body), 400, want)
	}
	if len(h.broker.onToken) != 0 {
		t.Error("the broker was asked")
	}
	w := h.send(http.MethodPost, path, identity.RoleReleaseUser, `{"target":"x"}`)
	if strings.Contains(w.Body.String(), "not that token") {
		t.Errorf("the refusal tells what is the operator's: %s", w.Body)
	}
	h.want("denied", w, 403, release.ReasonPolicyDenied)
	h.want("no right", h.send(http.MethodPost, path, identity.RoleEncryptionUser, `{"target":"a.b.c"}`), 403, release.ReasonForbidden)
	if len(h.broker.onToken) != 1 {
		t.Error("the broker was asked for somebody without the right")
	}
}

// TestKeyReleaseScope is RB-20: a right to one key is a right to that key, however its
// name is written, and to nothing whose name or vault looks like it, whatever the
// evidence would open there.
func TestKeyReleaseScope(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Suffixes = []string{roleSuffix} })
	id, secret := h.principal("one key")
	h.assign(id, identity.Assignment{ID: id, Role: identity.RoleReleaseUser, Scope: "/vaults/default/keys/disk"})
	tok, err := h.ids.Token(t.Context(), &identity.TokenRequest{GrantType: "client_credentials", ClientID: id, ClientSecret: secret})
	h.must(err)
	try := func(host, path string) *httptest.ResponseRecorder {
		return h.do(request{method: http.MethodPost, host: host, path: path + "?api-version=7.4", token: tok.Access, body: `{"target":"a.b.c"}`})
	}
	for _, path := range []string{"/keys/disk/release", "/keys/DISK/release", "/KEYS/Disk//release", "//keys/disk/RELEASE/", "/keys/disk/" + testVersion + "/release"} {
		before := len(h.broker.onToken)
		h.ok(path, try("", path), nil)
		if len(h.broker.onToken) != before+1 {
			t.Errorf("%s: the broker was not asked", path)
		}
	}
	before := len(h.broker.onToken)
	for _, path := range []string{
		"/keys/disk2/release", "/keys/dis/release", "/keys/disk-/release", "/keys/%64%69%73%6b2/release", "/keys/other/release",
		"/keys/other/" + testVersion + "/release", "/keys/release/release", "/keys/release/disk/release",
	} {
		h.want(path, try("", path), 403, release.ReasonForbidden)
	}
	h.want("another vault", try("other."+roleSuffix, "/keys/disk/release"), 403, release.ReasonForbidden)
	h.want("a vault that begins so", try("default2."+roleSuffix, "/keys/disk/release"), 403, release.ReasonForbidden)
	for _, path := range []string{"/keys/disk%2f..%2fother/release", "/keys/%2e/disk/release", "/keys/d%C4%B1sk/release", "/keys/disk%00/release"} {
		h.want(path, try("", path), 400, release.ReasonBadRequest)
	}
	if len(h.broker.onToken) != before {
		t.Error("the broker was asked for another key")
	}
}
