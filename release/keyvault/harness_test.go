package keyvault_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
	"github.com/openskr/openskr/release/releasetest"
)

const (
	baseURL = "https://vault.example:8443"
	aliased = "https://10.0.0.7:8443"
)

var at = time.Unix(1_790_000_000, 0)

// root seals under a fixed key, as a deployment does under its own.
type root struct{ gcm cipher.AEAD }

func newRoot(t testing.TB) root {
	t.Helper()
	block, err := aes.NewCipher(bytes.Repeat([]byte{3}, 32))
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	return root{gcm}
}

func (r root) Seal(p, aad []byte) ([]byte, error)   { return r.gcm.Seal(nil, nil, p, aad), nil }
func (r root) Unseal(s, aad []byte) ([]byte, error) { return r.gcm.Open(nil, nil, s, aad) }

// lab is a vault on a store in memory.
type lab struct {
	*keyvault.Service
	store    *releasetest.Store
	checking sync.Mutex
	checked  []release.ReleasePolicy // what was given to Check
	reject   error                   // what Check answers
	ready    error
	now      time.Time
	before   func()         // called once, before the next record of an operation
	after    func()         // and after it
	request  receipt.Digest // of every record
	right    []release.ObjectState
	notice   func()   // called once, before the next notice of a near expiry
	told     []string // names of keys that NearExpiry was told of
}

// log is the store's with the lab's hooks.
func (l *lab) log() release.Log { return hooked{l.store, l} }

type hooked struct {
	*releasetest.Store
	l *lab
}

func (h hooked) Append(ctx context.Context, e release.Entry) (*release.Committed, error) {
	once(&h.l.before)
	done, err := h.Store.Append(ctx, e)
	once(&h.l.after)
	return done, err
}

func once(f *func()) {
	if hook := *f; hook != nil {
		*f = nil
		hook()
	}
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{store: releasetest.NewStore(), now: at}
	l.store.Now = func() time.Time { return l.now }
	l.Service = l.service(t, l.store)
	return l
}

// service is another vault service on the lab's deployment, such as after a restart.
func (l *lab) service(t testing.TB, st keyvault.Store) *keyvault.Service {
	t.Helper()
	s, err := keyvault.New(keyvault.Config{
		Store: st, Root: newRoot(t), Deployment: "skr-test", BaseURL: baseURL, Aliases: []string{aliased},
		Check: func(_ context.Context, p release.ReleasePolicy) error {
			l.checking.Lock()
			defer l.checking.Unlock()
			l.checked = append(l.checked, p)
			return l.reject
		},
		Ready: func(context.Context) error { return l.ready },
		Log:   l.log(), Right: func(context.Context) []release.ObjectState { return l.right }, Objects: watched{l.store, l},
		Now: func() time.Time { return l.now },
		NearExpiry: func(k *release.Key) {
			l.checking.Lock()
			defer l.checking.Unlock()
			l.told = append(l.told, k.Ref.Name)
		},
		Record: func(_ context.Context, op string) *release.Record {
			return &release.Record{V: 1, Kind: receipt.KindChange, Operation: op, Request: l.request}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func (l *lab) create(t testing.TB, name string, in keyvault.CreateKey) *keyvault.Row {
	t.Helper()
	row, err := l.Create(t.Context(), keyvault.DefaultVault, name, in)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func ptr[T any](v T) *T { return &v }

func rego(text string) *release.ReleasePolicy {
	return &release.ReleasePolicy{ContentType: release.ContentTypeRego, Data: []byte(text)}
}

func immutable(text string) *release.ReleasePolicy {
	p := rego(text)
	p.Immutable = true
	return p
}

// attested asks for an attested-only key, as the CLI does.
func attested(kty string) keyvault.CreateKey {
	return keyvault.CreateKey{Kty: kty, Settings: keyvault.Settings{AttestedOnly: ptr(true), Policy: rego("package release")}}
}

func want(t *testing.T, what string, err error, reason release.Reason) {
	t.Helper()
	if reason == "" && err != nil || reason != "" && (err == nil || release.ReasonOf(err) != reason) {
		t.Errorf("%s: %v, want reason %q", what, err, reason)
	}
}

// The other ports of a broker, all content: what is tested here is the vault.
type (
	challenges struct{}
	verifier   struct{}
	machines   struct{}
	policy     struct{}
	wrapper    struct{}
	signer     struct{}
)

func (challenges) Begin(_ context.Context, nonce []byte, _ release.Scope) (release.Ticket, error) {
	return release.Ticket{Hash: sha256.Sum256(nonce), Expires: at.Add(time.Hour)}, nil
}

func (verifier) Verify(_ context.Context, ev attest.Evidence, _ attest.Expect) (*attest.Result, error) {
	return &attest.Result{Type: attest.TypeTPM, Identity: attest.Identity{Kind: "tpm", ID: "m1"}, Recipient: []byte(`{}`), Facts: attest.Facts{
		Chain: true, Signature: true, Bound: true, Recipient: true, Resident: true, Revocation: attest.Checked,
	}}, nil
}

func (verifier) Assert(context.Context, string, time.Time) (*attest.Assertion, error) {
	return nil, release.Refuse(release.ReasonInternal, "no token is presented here")
}

func (machines) Machine(context.Context, string) (*release.Machine, error) {
	return &release.Machine{ID: "m1", Status: release.MachineApproved}, nil
}

func (policy) Evaluate(context.Context, release.ReleasePolicy, *release.Input) (release.Decision, error) {
	return release.Decision{Allow: true}, nil
}

func (wrapper) Check([]byte, string) ([32]byte, error)                  { return [32]byte{1}, nil }
func (wrapper) Vet([]byte) error                                        { return nil }
func (wrapper) Wrap(_ []byte, _ string, m, _, _ []byte) ([]byte, error) { return bytes.Clone(m), nil }

func (signer) Sign(payload []byte) (string, error) { return string(payload), nil }

// release asks a broker for a key and gives what was wrapped, which here is the
// material itself. fault is called at each named step.
func (l *lab) release(t testing.TB, kid string, fault func(step string)) ([]byte, error) {
	t.Helper()
	return l.releaseFrom(t, l.Service, kid, fault)
}

func (l *lab) releaseFrom(t testing.TB, keys release.Keys, kid string, fault func(step string)) ([]byte, error) {
	t.Helper()
	b, err := release.New(release.Config{
		Deployment: "skr-test", Settings: func() receipt.Digest { return receipt.Digest{} }, Anchors: func() receipt.Digest { return receipt.Digest{} },
		ParseKID: l.ParseKID, Challenges: challenges{}, Keys: keys, Machines: machines{}, Verifier: verifier{}, Assertions: verifier{}, Policy: policy{},
		Log: l.store, Wrapper: wrapper{}, Compatible: wrapper{}, Signer: signer{}, Now: func() time.Time { return l.now }, Fault: fault,
	})
	if err != nil {
		t.Fatal(err)
	}
	nonce := base64.RawURLEncoding.EncodeToString([]byte(time.Now().String()))
	rd, err := json.Marshal(map[string]any{
		"keys": []any{map[string]string{}}, "nonce": nonce, "audience": "skr-test", "purpose": "release", "key": kid, "enc": "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.Release(t.Context(), release.Request{Door: release.DoorNative, Evidence: attest.Evidence{Type: attest.TypeTPM, RuntimeData: rd}})
	if err != nil {
		return nil, err
	}
	var resp receipt.Response
	if err := json.Unmarshal([]byte(out.Response), &resp); err != nil {
		t.Fatal(err)
	}
	return resp.Ciphertext, nil
}

// intruder lets something happen before the change of an operation, once.
type intruder struct {
	*releasetest.Store
	before string
	do     func()
}

func (i *intruder) Change(ctx context.Context, rec *release.Record, fn func(keyvault.Tx, int64) error) (*release.Committed, error) {
	if rec.Operation == i.before {
		once(&i.do)
	}
	return i.Store.Change(ctx, rec, fn)
}

// watched is the store's objects with the lab's hook.
type watched struct {
	*releasetest.Store
	l *lab
}

func (w watched) ChangeObject(ctx context.Context, rec *release.Record, kind, name string, fn func(old *release.Object) ([]byte, error)) (*release.Committed, error) {
	if rec.Operation == "keys/nearexpiry" {
		once(&w.l.notice)
	}
	return w.Store.ChangeObject(ctx, rec, kind, name, fn)
}
