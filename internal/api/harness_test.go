package api

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/internal/reference"
	"github.com/openskr/openskr/internal/telemetry"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
	"github.com/openskr/openskr/release/releasetest"
)

const (
	testDeployment = "d1"
	testHost       = "kv1.vault.local:8443"
	testVersion    = "0123456789abcdef0123456789abcdef"
)

// harness is the whole API on ports in memory; the vault and the token service
// are the real ones.
type harness struct {
	t          testing.TB
	handler    http.Handler
	store      *releasetest.Store
	ids        *identity.Service
	broker     *fakeBroker
	enroll     *fakeEnroll
	log        *fakeLog
	logged     *bytes.Buffer
	now        time.Time
	tokens     map[string]string // by role
	config     Config
	references map[string]any // as published
	attested   *identity.Attested
	tokenKey   *ecdsa.PrivateKey
	settings   receipt.Digest // of the configuration
}

type fakeBroker struct {
	requests []release.Request
	onToken  []release.TokenRequest
	do       func(ctx context.Context) (*release.Released, error)
}

func (b *fakeBroker) Release(ctx context.Context, r release.Request) (*release.Released, error) {
	b.requests = append(b.requests, r)
	if b.do != nil {
		return b.do(ctx)
	}
	return &release.Released{Response: "a.b.c"}, nil
}

func (b *fakeBroker) ReleaseOnToken(_ context.Context, r release.TokenRequest) (*release.Wrapped, error) {
	b.onToken = append(b.onToken, r)
	if r.Token != "a.b.c" {
		return nil, release.Refuse(release.ReasonPolicyDenied, "not that token")
	}
	k := &release.Key{
		Ref: release.KeyRef{Vault: r.Key.Vault, Name: r.Key.Name, Version: testVersion}, Collection: release.CollectionKeys, Kty: "oct", KeyOps: []string{},
		Policy: release.ReleasePolicy{ContentType: release.ContentTypeJSON, Data: []byte("{}")}, Created: 1, Updated: 2,
	}
	return &release.Wrapped{Key: k, KID: "target", Ciphertext: []byte("sealed"), Receipt: &release.Receipt{Leaf: []byte("leaf")}}, nil
}

// fakeAnswers signs with nothing.
type fakeAnswers struct{}

func (fakeAnswers) SignFor(host string, payload []byte) (string, error) {
	return host + "|" + string(payload), nil
}

type fakeEnroll struct{ begun, finished int }

func (e *fakeEnroll) Begin(context.Context, format.EnrollRequest) (*format.EnrollChallenge, error) {
	e.begun++
	return &format.EnrollChallenge{MachineID: "m"}, nil
}

func (e *fakeEnroll) Finish(context.Context, format.EnrollProof) (*format.EnrollResult, error) {
	e.finished++
	return nil, release.Refuse(release.ReasonEnrollState, "secret does not match")
}

// fakeLog adds what is read of a log to the store's.
type fakeLog struct {
	*releasetest.Store
	inputs   map[int64][]byte
	refusals map[int64][]byte
	policies map[receipt.Digest]*release.ReleasePolicy
	before   func() // when set, before an append
}

func (l *fakeLog) Append(ctx context.Context, e release.Entry) (*release.Committed, error) {
	if l.before != nil {
		l.before()
	}
	return l.Store.Append(ctx, e)
}

func (l *fakeLog) Checkpoint() string { return "origin\n1\nroot\n" }

func (l *fakeLog) Entries(_ context.Context, start int64, limit int) (out [][]byte, err error) {
	for i := start; i < int64(len(l.Leaves)) && len(out) < limit; i++ {
		b, err := l.Leaves[i].Encode()
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

func (l *fakeLog) Prove(_ context.Context, _, size int64) ([][]byte, error) {
	if size > int64(len(l.Leaves)) {
		return nil, release.Refuse(release.ReasonNotFound, "log is smaller")
	}
	return [][]byte{make([]byte, 32)}, nil
}

func (l *fakeLog) Input(_ context.Context, index int64) ([]byte, error) {
	if b := l.inputs[index]; b != nil {
		return b, nil
	}
	return nil, release.Refuse(release.ReasonNotFound, "no input")
}

func (l *fakeLog) Refusal(_ context.Context, index int64) ([]byte, error) {
	if b := l.refusals[index]; b != nil {
		return b, nil
	}
	return nil, release.Refuse(release.ReasonNotFound, "no refusal")
}

func (l *fakeLog) Policy(_ context.Context, digest receipt.Digest) (*release.ReleasePolicy, error) {
	if p := l.policies[digest]; p != nil {
		return p, nil
	}
	return nil, release.Refuse(release.ReasonNotFound, "no policy")
}

func (l *fakeLog) Ring() any { return []string{"refusal"} }

type fakePolicies struct{}

func (fakePolicies) Explain(context.Context, release.ReleasePolicy, []byte) (any, error) {
	return map[string]bool{"allow": false}, nil
}

type fakeSystem struct{ accepted, drilled int }

func (s *fakeSystem) Accept(context.Context, *release.Record) error { s.accepted++; return nil }
func (s *fakeSystem) Status(context.Context) (any, error) {
	return map[string]int{"recipients": 2}, nil
}

func (s *fakeSystem) Drill(_ context.Context, _ *release.Record, proof []byte) error {
	if string(proof) != "proof" {
		return release.Refuse(release.ReasonForbidden, "wrong proof")
	}
	s.drilled++
	return nil
}

type fakeIssuer struct{ scopes []release.Scope }

func (i *fakeIssuer) Issue(s release.Scope) ([]byte, time.Time, error) {
	i.scopes = append(i.scopes, s)
	return make([]byte, binding.NonceSize), time.Unix(1_800_000_300, 0), nil
}

type fakeRoot struct{}

func (fakeRoot) Seal(p, _ []byte) ([]byte, error)   { return bytes.Clone(p), nil }
func (fakeRoot) Unseal(p, _ []byte) ([]byte, error) { return bytes.Clone(p), nil }

// newHarness builds it; change may replace parts before the API is made.
func newHarness(t testing.TB, change ...func(*Config)) *harness {
	t.Helper()
	h := &harness{
		t: t, store: releasetest.NewStore(), broker: &fakeBroker{}, enroll: &fakeEnroll{}, logged: &bytes.Buffer{},
		now: time.Unix(1_800_000_000, 0), tokens: map[string]string{},
	}
	h.store.Now = func() time.Time { return h.now }
	h.log = &fakeLog{Store: h.store, inputs: map[int64][]byte{}, refusals: map[int64][]byte{}, policies: map[receipt.Digest]*release.ReleasePolicy{}}
	h.ids = h.identity()
	sys := &fakeSystem{}
	record := Records(func() *release.Record { return &release.Record{V: 1, Deployment: testDeployment} })
	keys, err := keyvault.New(keyvault.Config{
		Store: h.store, Root: fakeRoot{}, Deployment: testDeployment, BaseURL: "https://" + testHost,
		Check: func(_ context.Context, p release.ReleasePolicy) error {
			if bytes.Contains(p.Data, []byte("syntax error")) {
				return release.Refuse(release.ReasonPolicyInvalid, "line 3, column 7: unexpected token")
			}
			return nil
		},
		Ready: func(context.Context) error { return nil }, Now: h.store.Now, Record: record, Log: h.log,
		Right: Right, Objects: h.store, Spend: Spend,
	})
	h.must(err)
	refs, err := reference.New(t.Context(), reference.Config{
		Objects: h.store, Publish: func(doc map[string]any) error { h.references = doc; return nil }, Record: record, Now: h.store.Now,
		File: map[string]any{"filed": map[string]any{}},
	})
	h.must(err)
	access, err := identity.NewAccess(identity.AccessConfig{Objects: h.store, Record: record, Right: Right, Now: h.store.Now})
	h.must(err)
	h.config = Config{
		Deployment: testDeployment, Hosts: []string{testHost}, Broker: h.broker, Tokens: &fakeTokens{}, Attested: h.attested, Answers: fakeAnswers{}, Keys: keys, Issuer: &fakeIssuer{}, Enroll: h.enroll,
		Log: h.log, Objects: h.store, References: refs, Policies: fakePolicies{}, Identity: h.ids, Access: access, Clock: sys, Recovery: sys, Record: record,
		Attestation: h.attestation(),
		Warnings:    func(context.Context) ([]string, error) { return []string{"simulation"}, nil },
		Metrics:     telemetry.NewMetrics("test", Names()), Logger: telemetry.NewLogger(h.logged, slog.LevelDebug),
		Rate: Rate{PerSecond: 1e6, Burst: 1e6}, Throttle: 1e6, Now: h.store.Now,
	}
	for _, f := range change {
		f(&h.config)
	}
	h.handler, err = New(h.config)
	h.must(err)
	return h
}

func (h *harness) identity() *identity.Service {
	h.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	h.must(err)
	signer, err := jose.NewSigner(key, jose.TypeAccessToken)
	h.must(err)
	pinned, err := jose.NewKeys(&key.PublicKey)
	h.must(err)
	h.attest(key)
	ids, err := identity.New(identity.Config{
		Deployment: testDeployment, Objects: h.store, Signer: signer, Keys: pinned, Attested: h.attested,
		Resources: identity.Resources([]string{testHost}), Now: func() time.Time { return h.now },
	})
	h.must(err)
	return ids
}

func (h *harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// principal makes one and gives id and secret.
func (h *harness) principal(name string, roles ...string) (id, secret string) {
	h.t.Helper()
	p, secret, err := identity.NewPrincipal(name, h.now)
	h.must(err)
	var list []identity.Assignment
	for i, role := range roles {
		list = append(list, identity.Assignment{ID: fmt.Sprintf("%s%012x", p.ID[:24], i), Role: role, Scope: identity.Everywhere})
	}
	b, err := p.Encode()
	h.must(err)
	h.store.Docs[release.ObjectPrincipal+"/"+p.ID] = &release.Object{Kind: release.ObjectPrincipal, Name: p.ID, Generation: 1, Value: b}
	h.assign(p.ID, list...)
	return p.ID, secret
}

// assign replaces a principal's assignments, as another broker on the store would.
func (h *harness) assign(id string, list ...identity.Assignment) {
	h.t.Helper()
	b, err := identity.EncodeAssignments(list)
	h.must(err)
	generation := int64(1)
	if old := h.store.Docs[release.ObjectRoles+"/"+id]; old != nil {
		generation = old.Generation + 1
	}
	h.store.Docs[release.ObjectRoles+"/"+id] = &release.Object{Kind: release.ObjectRoles, Name: id, Generation: generation, Value: b}
}

// token gives an access token of a principal with that role, "" for none.
func (h *harness) token(role string) string {
	h.t.Helper()
	if tok := h.tokens[role]; tok != "" {
		return tok
	}
	var roles []string
	if role != "" {
		roles = []string{role}
	}
	id, secret := h.principal("p", roles...)
	tok, err := h.ids.Token(context.Background(), &identity.TokenRequest{GrantType: "client_credentials", ClientID: id, ClientSecret: secret})
	h.must(err)
	h.tokens[role] = tok.Access
	return tok.Access
}

// request is one call; zero members have the defaults of a good one.
type request struct {
	method, path, body, token, contentType, host string
	header                                       map[string]string
}

func (h *harness) do(r request) *httptest.ResponseRecorder {
	h.t.Helper()
	var body io.Reader = http.NoBody
	if r.body != "" {
		body = strings.NewReader(r.body)
	}
	req := httptest.NewRequest(r.method, "https://"+testHost+"/", body)
	h.target(req, r.path)
	req.Host = testHost
	if r.host != "" {
		req.Host = r.host
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, req)
	return w
}

// target sets the URL as net/http's server would from a request line.
func (h *harness) target(req *http.Request, path string) {
	h.t.Helper()
	u, err := req.URL.Parse("https://" + testHost + path)
	h.must(err)
	req.URL = u
}

func (h *harness) get(path, role string) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.do(request{method: http.MethodGet, path: path, token: h.token(role)})
}

func (h *harness) send(method, path, role, body string) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.do(request{method: method, path: path, token: h.token(role), body: body})
}

// refusal reads an error body and checks what every one must have.
func (h *harness) refusal(w *httptest.ResponseRecorder) (status int, reason string) {
	h.t.Helper()
	var b binding.ErrorBody
	if err := json.Unmarshal(w.Body.Bytes(), &b); err != nil || b.Error.Code == "" || b.Error.InnerError.Reason() == "" {
		h.t.Fatalf("status %d, not an error body: %s", w.Code, w.Body)
	}
	if b.Error.CorrelationID == "" || b.Error.CorrelationID != w.Header().Get("x-ms-request-id") {
		h.t.Errorf("correlation id %q, header %q", b.Error.CorrelationID, w.Header().Get("x-ms-request-id"))
	}
	if class := release.Reason(b.Error.InnerError.Reason()).Class(); int(class) != w.Code {
		h.t.Errorf("reason %s has class %d, status %d", b.Error.InnerError.Reason(), class, w.Code)
	}
	return w.Code, b.Error.InnerError.Reason()
}

func (h *harness) want(name string, w *httptest.ResponseRecorder, status int, reason release.Reason) {
	h.t.Helper()
	if s, r := h.refusal(w); s != status || r != string(reason) {
		h.t.Errorf("%s: %d %s, want %d %s: %s", name, s, r, status, reason, w.Body)
	}
}

func (h *harness) ok(name string, w *httptest.ResponseRecorder, into any) {
	h.t.Helper()
	if w.Code != http.StatusOK {
		h.t.Fatalf("%s: %d %s", name, w.Code, w.Body)
	}
	if into != nil {
		h.must(json.Unmarshal(w.Body.Bytes(), into))
	}
}

// lastRecord is the newest log entry.
func (h *harness) lastRecord() *receipt.Record {
	h.t.Helper()
	if len(h.store.Leaves) == 0 {
		h.t.Fatal("the log is empty")
	}
	return h.store.Leaves[len(h.store.Leaves)-1]
}

func digestOf(body string) receipt.Digest { return sha256.Sum256([]byte(body)) }

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

var errDisk = errors.New("disk full")
