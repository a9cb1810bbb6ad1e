package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	v1 "github.com/openskr/openskr/internal/api/v1"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

const (
	releaseBody   = `{"runtime_data":"e30","evidence":{"type":"tpm","quote":"AA"},"endorsements":[{"type":"ak-certificate","data":"AQ"}]}`
	challengeBody = `{"purpose":"release","key":"https://` + testHost + `/keys/disk"}`
)

func (h *harness) post(path, body string) (int, string) {
	h.t.Helper()
	w := h.do(request{method: http.MethodPost, path: path, body: body})
	if w.Code == http.StatusOK {
		return w.Code, ""
	}
	return h.refusal(w)
}

func TestChallenge(t *testing.T) {
	h := newHarness(t)
	var c binding.Challenge
	h.ok("challenge", h.do(request{method: http.MethodPost, path: "/v1/challenge", body: challengeBody}), &c)
	if len(c.Nonce) != binding.NonceSize || c.Audience != testDeployment || c.Expires != 1_800_000_300 {
		t.Errorf("%+v", c)
	}
	scopes := h.config.Issuer.(*fakeIssuer).scopes
	if len(scopes) != 1 || scopes[0] != (release.Scope{Purpose: "release", Key: "https://" + testHost + "/keys/disk"}) {
		t.Errorf("%+v", scopes)
	}
	for body, want := range map[string]release.Reason{
		strings.Replace(challengeBody, "release", "token", 1):       release.ReasonBadRequest,
		strings.Replace(challengeBody, "release", "", 1):            release.ReasonPurpose,
		strings.Replace(challengeBody, testHost, "evil.example", 1): release.ReasonBadRequest,
		strings.Replace(challengeBody, "disk", "../x", 1):           release.ReasonBadRequest,
	} {
		if _, reason := h.post("/v1/challenge", body); reason != string(want) {
			t.Errorf("%s: %s, want %s", body, reason, want)
		}
	}
	if len(scopes) != 1 || len(h.store.Leaves) != 0 {
		t.Error("a refused challenge issued a nonce or wrote a record")
	}
}

func TestRelease(t *testing.T) {
	h := newHarness(t)
	w := h.do(request{method: http.MethodPost, path: "/v1/release", body: releaseBody})
	h.ok("release", w, nil)
	if w.Body.String() != `{"response":"a.b.c"}` {
		t.Error(w.Body)
	}
	r := h.broker.requests[0]
	if r.Door != release.DoorNative || r.Evidence.Type != attest.TypeTPM || string(r.Evidence.Body) != `{"type":"tpm","quote":"AA"}` ||
		string(r.Evidence.RuntimeData) != "{}" || len(r.Evidence.Endorsements) != 1 || receipt.Digest(r.Digest) != digestOf(releaseBody) ||
		r.Correlation != w.Header().Get("x-ms-request-id") || r.Source != "192.0.2.0/24" {
		t.Errorf("%+v", r)
	}
	// the broker records its refusals itself: the door must not count them again
	h.broker.do = func(context.Context) (*release.Released, error) {
		return nil, release.Refuse(release.ReasonPolicyDenied, "SECRET detail")
	}
	w = h.do(request{method: http.MethodPost, path: "/v1/release", body: releaseBody})
	h.want("denied", w, http.StatusForbidden, release.ReasonPolicyDenied)
	if len(h.store.Leaves) != 0 || len(h.store.Counted) != 0 {
		t.Error("recorded twice")
	}
	if strings.Contains(w.Body.String(), "SECRET") || !strings.Contains(h.logged.String(), "SECRET detail") {
		t.Error("detail goes to the operator and not to the caller")
	}
}

func TestReleaseBodies(t *testing.T) {
	h := newHarness(t)
	replace := func(old, new string) string { return strings.Replace(releaseBody, old, new, 1) }
	for name, c := range map[string]struct {
		body string
		want release.Reason
	}{
		"no type":               {replace(`"type":"tpm",`, ``), release.Reason(attest.CheckMalformed)},
		"type of wrong type":    {replace(`"type":"tpm"`, `"type":1`), release.Reason(attest.CheckMalformed)},
		"Type":                  {replace(`"type":"tpm"`, `"Type":"tpm"`), release.Reason(attest.CheckMalformed)},
		"evidence a string":     {replace(`{"type":"tpm","quote":"AA"}`, `"x"`), release.Reason(attest.CheckMalformed)},
		"evidence null":         {replace(`{"type":"tpm","quote":"AA"}`, `null`), release.Reason(attest.CheckMalformed)},
		"AP-03 duplicate":       {replace(`{"runtime_data"`, `{"runtime_data":"e30","runtime_data"`), release.ReasonDuplicateMember},
		"AP-03 escaped":         {replace(`{"runtime_data"`, `{"\u0072untime_data":"e30","runtime_data"`), release.ReasonDuplicateMember},
		"AP-03 nested":          {replace(`"quote":"AA"`, `"quote":"AA","quote":"AB"`), release.ReasonDuplicateMember},
		"AP-04 case":            {replace(`runtime_data`, `Runtime_Data`), release.ReasonUnknownMember},
		"AP-05 long s":          {replace(`endorsements`, "endor\u017fements"), release.ReasonUnknownMember},
		"AP-06 trailing":        {releaseBody + "x", release.ReasonBadRequest},
		"AP-06 second document": {releaseBody + "{}", release.ReasonBadRequest},
		"AP-06 BOM":             {"\ufeff" + releaseBody, release.ReasonBadRequest},
		"AP-06 comment":         {"/**/" + releaseBody, release.ReasonBadRequest},
		"AP-06 NaN":             {replace(`"AA"`, `NaN`), release.ReasonBadRequest},
		"AP-07 depth":           {replace(`"AA"`, strings.Repeat("[", 40)+strings.Repeat("]", 40)), release.ReasonBadRequest},
		"AP-11 padding":         {replace(`"e30"`, `"e30="`), release.ReasonBadRequest},
		"AP-11 spare bits":      {replace(`"e30"`, `"e31"`), release.ReasonBadRequest},
		"AP-11 white space":     {replace(`"e30"`, `"e3\n0"`), release.ReasonBadRequest},
		"AP-23 unknown":         {replace(`{"runtime_data"`, `{"x":1,"runtime_data"`), release.ReasonUnknownMember},
		"null":                  {"null", release.ReasonBadRequest},
		"array":                 {"[]", release.ReasonBadRequest},
		"invalid UTF-8":         {replace("tpm", "\xff"), release.ReasonBadRequest},
	} {
		if _, reason := h.post("/v1/release", c.body); reason != string(c.want) {
			t.Errorf("%s: %s, want %s", name, reason, c.want)
		}
	}
	if len(h.broker.requests) != 0 {
		t.Error("a malformed request reached the broker")
	}
}

func TestEnroll(t *testing.T) {
	h := newHarness(t)
	for body, want := range map[string]string{
		`{"begin":{"ek_public":"AA","ek_certificate":"AA","ak":"AA"}}`: "",
		`{"finish":{"state":"AA","secret":"AA"}}`:                      string(release.ReasonEnrollState),
		`{}`: string(release.ReasonBadRequest),
		`{"begin":{"ek_public":"","ek_certificate":"","ak":""},"finish":{"state":"","secret":""}}`: string(release.ReasonBadRequest),
	} {
		if _, reason := h.post("/v1/enroll", body); reason != want {
			t.Errorf("%s: %q, want %q", body, reason, want)
		}
	}
	if h.enroll.begun != 1 || h.enroll.finished != 1 || h.store.Counted[release.ReasonEnrollState] != 1 {
		t.Errorf("%+v, %v", h.enroll, h.store.Counted)
	}
}

func (h *harness) machine(id, status string) {
	h.t.Helper()
	b, err := json.Marshal(release.Enrolled{Status: status, EKHash: []byte{1, 2}, EKCertificate: []byte("der"), EKIssuer: "CN=x", Created: 1})
	h.must(err)
	h.store.Docs[release.ObjectMachine+"/"+id] = &release.Object{Kind: release.ObjectMachine, Name: id, Generation: 1, Value: b}
}

func TestMachines(t *testing.T) {
	h := newHarness(t)
	for _, id := range []string{"m1", "m2", "m3"} {
		h.machine(id, release.MachinePending)
	}
	var page v1.MachinePage
	h.ok("list", h.get("/v1/machines?limit=2", identity.RoleAuditor), &page)
	if len(page.Value) != 2 || page.Next != "m2" || page.Value[0].Status != "pending" || page.Value[0].Labels == nil {
		t.Errorf("%+v", page)
	}
	page = v1.MachinePage{}
	h.ok("list", h.get("/v1/machines?limit=2&after=m2", identity.RoleAuditor), &page)
	if len(page.Value) != 1 || page.Next != "" {
		t.Errorf("%+v", page)
	}
	var m v1.Machine
	h.ok("approve", h.send(http.MethodPatch, "/v1/machines/m1", identity.RoleMachineOperator, `{"status":"approved","labels":{"role":"web"}}`), &m)
	rec := h.lastRecord()
	if m.Status != "approved" || m.Labels["role"] != "web" || m.Updated != h.now.Unix() || rec.Operation != "machines/approve" || rec.Object != "m1" ||
		rec.Detail["status"] != "approved" || rec.Detail["labels"] == "" || rec.Caller.Kind != "principal" || rec.Caller.ID == "" || rec.Kind != receipt.KindChange {
		t.Errorf("%+v, %+v", m, rec)
	}
	got, err := release.EnrolledMachines{Objects: h.store}.Machine(t.Context(), "m1")
	if err != nil || got.Standing() != nil || got.Labels["role"] != "web" {
		t.Errorf("the broker reads %+v, %v", got, err)
	}
	h.ok("label", h.send(http.MethodPatch, "/v1/machines/m1", identity.RoleMachineOperator, `{"labels":{}}`), &m)
	if h.lastRecord().Operation != "machines/label" {
		t.Error(h.lastRecord().Operation)
	}
	h.ok("deny", h.send(http.MethodPatch, "/v1/machines/m1", identity.RoleMachineOperator, `{"status":"denied"}`), nil)
	if h.lastRecord().Operation != "machines/deny" {
		t.Error(h.lastRecord().Operation)
	}
	var e release.Enrolled
	h.must(json.Unmarshal(h.store.Docs["machine/m1"].Value, &e))
	if string(e.EKCertificate) != "der" || !bytes.Equal(e.EKHash, []byte{1, 2}) {
		t.Errorf("members that nobody changed were lost: %+v", e)
	}
}

func TestMachineRefusals(t *testing.T) {
	h := newHarness(t)
	h.machine("m1", release.MachinePending)
	before := string(h.store.Docs["machine/m1"].Value)
	for body, want := range map[string]release.Reason{
		`{}`: release.ReasonBadRequest, `{"status":"pending"}`: release.ReasonBadRequest, `{"status":"APPROVED"}`: release.ReasonBadRequest,
		`{"labels":{"A":"x"}}`: release.ReasonBadRequest, `{"labels":{"a":"\u0000"}}`: release.ReasonBadRequest, `{"labels":{"a":"\u202e"}}`: release.ReasonBadRequest,
		`{"labels":{"a":1}}`: release.ReasonBadRequest, `{"labels":null}`: release.ReasonBadRequest, `{"id":"m2","status":"approved"}`: release.ReasonUnknownMember,
		`{"labels":{"a":"1","a":"2"}}`: release.ReasonDuplicateMember, `{"labels":{"a":"` + strings.Repeat("x", 129) + `"}}`: release.ReasonBadRequest,
	} {
		n := len(h.store.Leaves)
		_, reason := h.refusal(h.send(http.MethodPatch, "/v1/machines/m1", identity.RoleMachineOperator, body))
		if reason != string(want) || len(h.store.Leaves) != n+1 || h.lastRecord().Decision != receipt.Deny || h.lastRecord().Reason != reason {
			t.Errorf("%s: %s, want %s and a record of it", body, reason, want)
		}
	}
	if string(h.store.Docs["machine/m1"].Value) != before {
		t.Error("a refused change changed something")
	}
	h.want("unknown", h.send(http.MethodPatch, "/v1/machines/m9", identity.RoleMachineOperator, `{"status":"approved"}`), http.StatusNotFound, release.ReasonNotFound)
	h.want("unknown", h.get("/v1/machines/m9", identity.RoleAuditor), http.StatusNotFound, release.ReasonNotFound)
	for _, q := range []string{"?limit=0", "?limit=-1", "?limit=1000000000", "?limit=1.0", "?limit=01", "?after=a%2Fb", "?x=1", "?limit=1&limit=2"} {
		h.want(q, h.get("/v1/machines"+q, identity.RoleAuditor), http.StatusBadRequest, release.ReasonBadRequest)
	}
}

// TestMachineOfHardware: hardware never enrols, so its row is made by the first
// thing an operator says about it.
func TestMachineOfHardware(t *testing.T) {
	h := newHarness(t)
	id := attest.Identify(attest.TypeSNP, []byte("chip")).ID
	var m v1.Machine
	h.ok("label", h.send(http.MethodPatch, "/v1/machines/"+id, identity.RoleMachineOperator, `{"labels":{"site":"a"}}`), &m)
	if m.ID != id || m.Status != release.MachineApproved || m.Labels["site"] != "a" {
		t.Errorf("labelled: %+v", m)
	}
	h.ok("deny", h.send(http.MethodPatch, "/v1/machines/"+id, identity.RoleMachineOperator, `{"status":"denied"}`), &m)
	if m.Status != release.MachineDenied || m.Labels["site"] != "a" || h.lastRecord().Operation != "machines/deny" {
		t.Errorf("denied: %+v, %+v", m, h.lastRecord())
	}
	for _, id := range []string{id[:len(id)-1], "snp-" + strings.ToUpper(id[4:]), strings.Repeat("a", 64)} {
		h.want(id, h.send(http.MethodPatch, "/v1/machines/"+id, identity.RoleMachineOperator, `{"status":"denied"}`), http.StatusNotFound, release.ReasonNotFound)
	}
}

func TestLog(t *testing.T) {
	h := newHarness(t)
	h.ok("create", h.send(http.MethodPost, "/keys/disk/create?api-version=7.4", identity.RoleAdministrator,
		`{"kty":"EC","attested_only":true,"release_policy":{"contentType":"`+release.ContentTypeRego+`","data":"`+b64("package release")+`"}}`), nil)
	key := h.lastRecord()
	input := `{"request":{}}`
	for _, policy := range []receipt.Digest{key.Policy, {1}} {
		rec := &release.Record{V: 1, Kind: receipt.KindRelease, Decision: receipt.Deny, Reason: "policy_denied", Vault: key.Vault, Object: "disk", Version: key.Version, Policy: policy, Input: digestOf(input)}
		_, err := h.store.Append(t.Context(), release.Entry{Record: rec})
		h.must(err)
		h.log.inputs[int64(len(h.store.Leaves)-1)] = []byte(input)
	}
	h.log.policies[key.Policy] = &release.ReleasePolicy{ContentType: release.ContentTypeRego, Data: []byte("package release")}
	var d struct {
		Record      receipt.Record
		Input       json.RawMessage
		Explanation any
		Note        string
		Policy      struct{ Data string }
	}
	h.ok("explained", h.get("/v1/log/decisions/1", identity.RoleAuditor), &d)
	if d.Record.Reason != "policy_denied" || string(d.Input) != input || d.Explanation == nil || d.Policy.Data != b64("package release") || d.Note != "" {
		t.Errorf("%+v", d)
	}
	d.Explanation = nil
	h.ok("policy gone", h.get("/v1/log/decisions/2", identity.RoleAuditor), &d)
	if d.Explanation != nil || d.Note != "policy_gone" {
		t.Errorf("%+v", d)
	}
	var made v1.Decision
	h.ok("a change", h.get("/v1/log/decisions/0", identity.RoleAuditor), &made)
	if made.Note != "" || made.Refusal != nil || made.Input != nil || made.Explanation != nil {
		t.Errorf("%+v", made)
	}
	h.want("past the end", h.get("/v1/log/decisions/99", identity.RoleAuditor), http.StatusNotFound, release.ReasonNotFound)
	h.want("not a number", h.get("/v1/log/decisions/0x1", identity.RoleAuditor), http.StatusBadRequest, release.ReasonBadRequest)
	var e v1.Entries
	h.ok("entries", h.get("/v1/log/entries?start=1&limit=1", identity.RoleAuditor), &e)
	if len(e.Leaves) != 1 || e.Start != 1 {
		t.Errorf("%+v", e)
	}
	h.ok("proof", h.get("/v1/log/proof?index=0&size=2", identity.RoleAuditor), nil)
	for _, q := range []string{"", "?index=0", "?index=2&size=2", "?index=-1&size=2", "?index=0&size=0"} {
		h.want(q, h.get("/v1/log/proof"+q, identity.RoleAuditor), http.StatusBadRequest, release.ReasonBadRequest)
	}
	if w := h.get("/v1/log/checkpoint", identity.RoleAuditor); w.Body.String() != h.log.Checkpoint() || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Error(w.Body)
	}
	h.ok("refusals", h.get("/v1/log/refusals", identity.RoleAuditor), nil)
}

// TestExplanation: only a denial by the policy is explained by the policy; every
// other one by what was kept of its refusal, whether or not there was an input.
func TestExplanation(t *testing.T) {
	h := newHarness(t)
	policy, input := receipt.Digest{7}, `{"request":{}}`
	h.log.policies[policy] = &release.ReleasePolicy{Data: []byte("package release")}
	for _, c := range []struct {
		reason    release.Reason
		kept      bool
		explained bool
		note      string
	}{
		{release.ReasonPolicyDenied, true, true, ""},
		{release.ReasonPolicyError, true, true, ""},
		{release.ReasonPolicyResource, true, true, ""},
		{release.ReasonPolicyTimeout, true, true, ""},
		{release.ReasonClockUntrusted, true, false, ""},
		{release.ReasonTPMRollback, true, false, ""},
		{release.ReasonStateChanged, true, false, ""},
		{release.ReasonNonceReplayed, true, false, ""},
		{release.ReasonMachineDenied, false, false, "no_input"},
		{"", false, false, ""}, // an allow
	} {
		rec := &release.Record{V: 1, Kind: receipt.KindRelease, Decision: receipt.Deny, Reason: string(c.reason), Policy: policy, Input: digestOf(input)}
		if c.reason == "" {
			rec.Decision = receipt.Allow
		}
		_, err := h.store.Append(t.Context(), release.Entry{Record: rec})
		h.must(err)
		n := int64(len(h.store.Leaves) - 1)
		h.log.inputs[n] = []byte(input)
		if c.kept {
			h.log.refusals[n] = fmt.Appendf(nil, `{"check":%q,"detail":"d","expected":"e","got":"g"}`, c.reason)
		}
		var d v1.Decision
		h.ok(string(c.reason), h.get(fmt.Sprint("/v1/log/decisions/", n), identity.RoleAuditor), &d)
		if (d.Explanation != nil) != c.explained || (d.Refusal != nil) != c.kept || d.Note != c.note || d.Policy == nil || string(d.Input) != input {
			t.Errorf("%q: %+v", c.reason, d)
		}
		if c.kept && *d.Refusal != (release.Refusal{Check: c.reason, Detail: "d", Expected: "e", Got: "g"}) {
			t.Errorf("%q: %+v", c.reason, d.Refusal)
		}
	}
	h.log.inputs[0] = []byte(`{"request":{"a":1}}`)
	h.want("another input", h.get("/v1/log/decisions/0", identity.RoleAuditor), http.StatusServiceUnavailable, release.ReasonIntegrity)
}

func TestSystem(t *testing.T) {
	h := newHarness(t)
	sys := h.config.Clock.(*fakeSystem)
	h.ok("clock", h.send(http.MethodPost, "/v1/clock/accept", identity.RoleAdministrator, ""), nil)
	h.ok("clock", h.send(http.MethodPost, "/v1/clock/accept", identity.RoleAdministrator, "{}"), nil)
	h.want("clock", h.send(http.MethodPost, "/v1/clock/accept", identity.RoleAdministrator, `{"x":1}`), http.StatusBadRequest, release.ReasonUnknownMember)
	h.ok("recovery", h.get("/v1/recovery", identity.RoleAdministrator), nil)
	h.ok("drill", h.send(http.MethodPost, "/v1/recovery/drill", identity.RoleAdministrator, `{"proof":"`+b64("proof")+`"}`), nil)
	h.want("drill", h.send(http.MethodPost, "/v1/recovery/drill", identity.RoleAdministrator, `{"proof":"AA"}`), http.StatusForbidden, release.ReasonForbidden)
	if sys.accepted != 2 || sys.drilled != 1 {
		t.Errorf("%+v", sys)
	}
	var d v1.Discovery
	h.ok("discovery", h.do(request{method: http.MethodGet, path: "/.well-known/openskr"}), &d)
	if d.Deployment != testDeployment || d.Token != "https://"+testHost+"/d1/oauth2/v2.0/token" {
		t.Errorf("%+v", d)
	}
	var r v1.Ready
	h.ok("ready", h.do(request{method: http.MethodGet, path: "/readyz"}), &r)
	if r.Status != "ready" || len(r.Warnings) != 1 {
		t.Errorf("%+v", r)
	}
	if w := h.get("/metrics", identity.RoleAuditor); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `openskr_request_seconds_count{route="clock/accept",status="2xx"} 2`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestNotReady(t *testing.T) {
	for _, cause := range []error{errors.New("draining"), release.Refuse(release.ReasonClockUntrusted, "clock")} {
		h := newHarness(t, func(c *Config) {
			c.Warnings = func(context.Context) ([]string, error) { return nil, cause }
		})
		w := h.do(request{method: http.MethodGet, path: "/readyz"})
		if s, _ := h.refusal(w); s != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || len(h.store.Counted) != 0 {
			t.Errorf("%v: %d", cause, s)
		}
	}
}
