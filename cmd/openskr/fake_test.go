package main

import (
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/openskr/openskr/attest"
	v1 "github.com/openskr/openskr/internal/api/v1"
	"github.com/openskr/openskr/release/receipt"
)

const (
	fakeClient = "11111111-2222-4333-8444-555555555555"
	fakeSecret = "canary-secret-canary"
	fakeToken  = "fake-token"
	fakeTenant = "fake-deployment"
	fakeOrigin = "fake.example/log"
)

// fakeBroker answers as a broker does, from memory, and as a hostile one would
// where the name of an object asks for it.
type fakeBroker struct {
	url, ca string
	log     *fakeLog

	mu       sync.Mutex
	keys     map[string]map[string]any
	machines []v1.Machine
}

func newFakeBroker(t *testing.T) *fakeBroker {
	t.Helper()
	b := &fakeBroker{
		log: newFakeLog(t), keys: map[string]map[string]any{},
		machines: []v1.Machine{
			{ID: "m1", Status: "pending", Labels: map[string]string{}, EKIssuer: "CN=TPM maker", Created: 1790000000, Updated: 1790000000},
			{ID: "m2", Status: "approved", Labels: map[string]string{"role": "web"}, EKIssuer: "CN=evil\x1b[31m", Created: 1790000000, Updated: 1790000001},
			{ID: "3f2a9c0d11112222", Status: "approved"},
			{ID: "3f2a9c0d33334444", Status: "approved"},
		},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /"+fakeTenant+"/oauth2/v2.0/token", b.token)
	mux.HandleFunc("POST /keys/{name}/create", b.authed(b.putKey))
	mux.HandleFunc("PUT /keys/{name}", b.authed(b.putKey))
	mux.HandleFunc("PATCH /keys/{name}", b.authed(b.patchKey))
	mux.HandleFunc("GET /keys/{name}", b.authed(b.getKey))
	mux.HandleFunc("GET /keys/{name}/versions", b.authed(b.listKeys))
	mux.HandleFunc("GET /keys", b.authed(b.listKeys))
	mux.HandleFunc("GET /v1/machines", b.authed(b.listMachines))
	mux.HandleFunc("GET /v1/machines/{id}", b.authed(b.machine))
	mux.HandleFunc("PATCH /v1/machines/{id}", b.authed(b.machine))
	mux.HandleFunc("POST /v1/clock/accept", b.authed(func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, map[string]string{"status": "accepted"}) }))
	mux.HandleFunc("GET /v1/log/checkpoint", b.authed(b.log.checkpoint))
	mux.HandleFunc("GET /v1/log/entries", b.authed(b.log.entries))
	mux.HandleFunc("GET /v1/log/proof", b.authed(b.log.proof))
	mux.HandleFunc("GET /v1/log/decisions/{n}", b.authed(b.log.decision))
	mux.HandleFunc("GET /v1/log/refusals", b.authed(b.log.refusals))
	srv := httptest.NewUnstartedServer(mux)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // scripts let handshakes fail
	srv.StartTLS()
	t.Cleanup(srv.Close)
	b.url = srv.URL
	b.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	return b
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, code, reason string) {
	answer(w, status, map[string]any{"error": map[string]any{"code": code, "message": "no", "innererror": map[string]string{"code": reason}, "correlation_id": "c-1"}})
}

// authed answers the challenge of Key Vault without the token.
func (b *fakeBroker) authed(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+fakeToken {
			authority := b.url + "/" + fakeTenant
			if strings.HasPrefix(r.UserAgent(), "elsewhere") {
				authority = "https://elsewhere.example/" + fakeTenant
			}
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="%s", resource="%s"`, authority, b.url))
			refuse(w, http.StatusUnauthorized, "Unauthorized", "unauthorized")
			return
		}
		h(w, r)
	}
}

func (b *fakeBroker) token(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("client_id") != fakeClient || r.FormValue("client_secret") != fakeSecret || r.FormValue("scope") != b.url+"/.default" {
		refuse(w, http.StatusUnauthorized, "Unauthorized", "unauthorized")
		return
	}
	answer(w, 200, map[string]any{"token_type": "Bearer", "expires_in": 3600, "access_token": fakeToken})
}

func (b *fakeBroker) putKey(w http.ResponseWriter, r *http.Request) {
	var in map[string]any
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		refuse(w, 400, "BadParameter", "bad_request")
		return
	}
	name := r.PathValue("name")
	if name == "forbidden" {
		refuse(w, http.StatusForbidden, "Forbidden", "role_missing")
		return
	}
	key, _ := in["key"].(map[string]any)
	kty, _ := in["kty"].(string)
	if key != nil {
		kty, _ = key["kty"].(string)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys[name] = map[string]any{
		"key":        map[string]any{"kid": b.url + "/keys/" + name + "/0123456789abcdef0123456789abcdef", "kty": kty},
		"attributes": in["attributes"], "tags": in["tags"], "release_policy": in["release_policy"], "attested_only": in["attested_only"],
	}
	answer(w, 200, b.keys[name])
}

func (b *fakeBroker) patchKey(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Attributes map[string]any    `json:"attributes"`
		Tags       map[string]string `json:"tags"`
		Policy     map[string]any    `json:"release_policy"`
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.keys[r.PathValue("name")]
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || !ok {
		refuse(w, http.StatusNotFound, "KeyNotFound", "not_found")
		return
	}
	if in.Attributes != nil {
		k["attributes"] = in.Attributes
	}
	if in.Tags != nil {
		k["tags"] = in.Tags
	}
	if in.Policy != nil {
		k["release_policy"] = in.Policy
	}
	answer(w, 200, k)
}

func (b *fakeBroker) getKey(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.keys[r.PathValue("name")]
	if !ok {
		refuse(w, http.StatusNotFound, "KeyNotFound", "not_found")
		return
	}
	answer(w, 200, k)
}

// listKeys gives two pages; the second of a key named "astray" is elsewhere.
func (b *fakeBroker) listKeys(w http.ResponseWriter, r *http.Request) {
	item := func(name string) map[string]any {
		return map[string]any{"kid": b.url + "/keys/" + name, "attributes": map[string]any{"enabled": true}}
	}
	next := b.url + "/keys?api-version=7.6&$skiptoken=2"
	if r.PathValue("name") == "astray" {
		next = "https://elsewhere.example/keys"
	}
	if r.URL.Query().Get("$skiptoken") != "" {
		answer(w, 200, map[string]any{"value": []any{item("two")}, "nextLink": nil})
		return
	}
	answer(w, 200, map[string]any{"value": []any{item("one")}, "nextLink": next})
}

func (b *fakeBroker) listMachines(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.URL.Query().Get("after") == "" {
		answer(w, 200, v1.MachinePage{Value: b.machines[:1], Next: "m1"})
		return
	}
	answer(w, 200, v1.MachinePage{Value: b.machines[1:]})
}

func (b *fakeBroker) machine(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.machines {
		m := &b.machines[i]
		if m.ID != r.PathValue("id") {
			continue
		}
		var in struct {
			Status string             `json:"status"`
			Labels *map[string]string `json:"labels"`
		}
		if r.Method == http.MethodPatch {
			body, err := io.ReadAll(r.Body)
			if err != nil || json.Unmarshal(body, &in) != nil {
				refuse(w, 400, "BadParameter", "bad_request")
				return
			}
		}
		if in.Status != "" {
			m.Status = in.Status
		}
		if in.Labels != nil {
			m.Labels = *in.Labels
		}
		answer(w, 200, m)
		return
	}
	refuse(w, http.StatusNotFound, "NotFound", "not_found")
}

// fakeLog is a log in memory: a genesis, a change, an allowed and a refused release.
type fakeLog struct {
	leaves [][]byte
	hashes []tlog.Hash
	vkey   string
	note   string
	pages  atomic.Int64 // that were asked for
}

func newFakeLog(t *testing.T) *fakeLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, fakeOrigin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	l := &fakeLog{vkey: vkey}
	machine := &receipt.Caller{Kind: "machine", ID: "m2"}
	for i, r := range []receipt.Record{
		{Kind: receipt.KindGenesis},
		{Kind: receipt.KindChange, Operation: "machines/approve", Object: "m2", Caller: &receipt.Caller{Kind: "principal", ID: fakeClient, Roles: []string{"OpenSKR Machine Operator"}}},
		{Kind: receipt.KindRelease, Decision: receipt.Allow, Object: "disk", Caller: machine},
		{Kind: receipt.KindRelease, Decision: receipt.Deny, Reason: "policy_denied", Object: "disk", Caller: machine, Correlation: "a541c4fd-c099-4275-9e00-279813f4e9d7"},
	} {
		r.V, r.Deployment, r.Time = 1, fakeTenant, 1790000000000+int64(i)
		leaf, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		l.add(t, leaf)
	}
	root, err := tlog.TreeHash(int64(len(l.leaves)), l)
	if err != nil {
		t.Fatal(err)
	}
	if l.note, err = (&receipt.Checkpoint{Origin: fakeOrigin, Size: int64(len(l.leaves)), Root: root}).Sign(signer); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *fakeLog) add(t *testing.T, leaf []byte) {
	t.Helper()
	h, err := tlog.StoredHashes(int64(len(l.leaves)), leaf, l)
	if err != nil {
		t.Fatal(err)
	}
	l.leaves, l.hashes = append(l.leaves, leaf), append(l.hashes, h...)
}

// ReadHashes implements tlog.HashReader.
func (l *fakeLog) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		out = append(out, l.hashes[i])
	}
	return out, nil
}

func (l *fakeLog) checkpoint(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, l.note)
}

func (l *fakeLog) entries(w http.ResponseWriter, r *http.Request) {
	l.pages.Add(1)
	start, _ := strconv.Atoi(r.URL.Query().Get("start"))
	end := min(start+2, len(l.leaves)) // fewer than asked for: clients go on
	out := v1.Entries{Start: int64(start), Leaves: []attest.Bytes{}}
	for _, leaf := range l.leaves[start:end] {
		out.Leaves = append(out.Leaves, leaf)
	}
	answer(w, 200, out)
}

func (l *fakeLog) proof(w http.ResponseWriter, r *http.Request) {
	index, _ := strconv.ParseInt(r.URL.Query().Get("index"), 10, 64)
	size, _ := strconv.ParseInt(r.URL.Query().Get("size"), 10, 64)
	p, err := tlog.ProveRecord(size, index, l)
	if err != nil {
		refuse(w, 400, "BadParameter", "bad_request")
		return
	}
	out := v1.Proof{Index: index, Size: size, Path: []attest.Bytes{}}
	for _, h := range p {
		out.Path = append(out.Path, h[:])
	}
	answer(w, 200, out)
}

func (l *fakeLog) refusals(w http.ResponseWriter, _ *http.Request) {
	answer(w, 200, map[string]any{"value": []any{map[string]any{
		"time": "2026-09-21T13:46:40Z", "source": "192.0.2.0/24", "correlation": "b541c4fd-c099-4275-9e00-279813f4e9d7",
		"check": "tpm_quote", "detail": "the quote is\x1b[31m of another AK", "expected": "e1", "got": "g1",
	}}})
}

func (l *fakeLog) decision(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.PathValue("n"))
	if err != nil || n >= len(l.leaves) {
		refuse(w, http.StatusNotFound, "NotFound", "not_found")
		return
	}
	out := map[string]any{"index": n, "record": json.RawMessage(l.leaves[n]), "note": "no_input"}
	if n == 3 {
		delete(out, "note")
		out["input"] = map[string]any{"claims": map[string]any{"secureboot": false}}
		out["explanation"] = map[string]any{
			"decision": map[string]any{"Allow": false, "Reason": "policy_denied", "Messages": []string{"load options present"}},
			"failures": []any{map[string]any{
				"rule": "allow", "row": 7, "col": 2, "text": "input.claims.secureboot",
				"values": []any{map[string]string{"name": "input.claims.secureboot", "got": "false"}},
			}},
		}
	}
	answer(w, 200, out)
}
