// Package agenttest is a broker for tests of the agent: it answers honestly, in
// memory, with its own CA, response key and log, unless a test tells it to lie. It
// verifies no evidence.
package agenttest

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/release/receipt"
	"github.com/openskr/openskr/release/wrap"
)

// Names of the fake deployment.
const (
	Deployment = "deployment-under-test"
	KeyURL     = "https://vault.example/keys/disk"
	VaultURL   = "https://vault.example" // tokens for it are the Material
	Version    = "0123456789abcdef0123456789abcdef"
	origin     = "log.example/test"
)

// Broker is a running fake. Change its fields before the first request, or in Change.
type Broker struct {
	Trust    receipt.Trust // what an honest agent.json says
	Server   *httptest.Server
	Material []byte // what is released
	Kty      string // of it
	Tags     map[string]string
	Secrets  map[string][]string // values by name, in the order of their versions

	// Intercept may answer instead of the broker; it says whether it did.
	Intercept func(w http.ResponseWriter, r *http.Request) bool
	// Verify looks at evidence as a verifier would; nil: anything goes.
	Verify func(req *binding.ReleaseRequest) error
	// Lies, each applied where an honest broker has its value.
	Challenge  func(*binding.Challenge)
	Record     func(*receipt.Record)
	Receipt    func(*receipt.Receipt)
	Wrapped    func(info, aad []byte) (info2, aad2 []byte)
	Response   func(*receipt.Response)
	Header     string // JSON of the JWS header
	JWS        func(string) string
	SignWith   *ecdsa.PrivateKey
	LogWith    note.Signer
	Secret     func(answer map[string]any)
	Enrollment string // status that enrolment gives: "approved", "pending", "denied"

	mu         sync.Mutex
	nonces     map[string]bool // issued and not yet used
	secret     []byte          // of the credential under way
	ak         []byte
	Enrolled   int // completed enrolments
	Challenges int
	Releases   int
	Tokens     int    // asked for
	Reads      int    // of secrets
	SecretHost string // Host header of the last one
	responses  *ecdsa.PrivateKey
	log        note.Signer
	ca         *authority
}

// Start runs a broker until the test ends.
func Start(t testing.TB) *Broker {
	t.Helper()
	b := &Broker{
		Material: []byte("0123456789abcdef0123456789abcdef"), Kty: "oct", Enrollment: "approved",
		nonces: map[string]bool{}, ca: newAuthority(t), responses: NewKey(t),
		Header: `{"alg":"ES256","kid":"r1","typ":"` + receipt.ResponseType + `"}`,
	}
	var vkey string
	b.log, vkey = NewLogKey(t)
	b.Server = httptest.NewUnstartedServer(b)
	b.Server.TLS = &tls.Config{Certificates: []tls.Certificate{b.ca.server(t)}}
	b.Server.Config.ErrorLog = discard()
	b.Server.StartTLS()
	t.Cleanup(b.Server.Close)
	b.Trust = receipt.Trust{
		V: 1, URLs: []string{b.Server.URL}, Deployment: Deployment, CA: b.ca.pem,
		ResponseKeys: [][]byte{SPKI(t, b.responses)},
		Log:          receipt.LogTrust{Origin: origin, VKeys: []string{vkey}},
	}
	return b
}

// TrustFile writes agent.json.
func (b *Broker) TrustFile(t testing.TB) string {
	t.Helper()
	js, err := json.Marshal(b.Trust)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "agent.json")
	if err := os.WriteFile(path, js, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Change runs do while no request is answered.
func (b *Broker) Change(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
}

// ServeHTTP implements [http.Handler].
func (b *Broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Intercept != nil && b.Intercept(w, r) {
		return
	}
	if strings.HasPrefix(r.URL.Path, "/secrets/") {
		b.readSecret(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var out any
	switch r.URL.Path {
	case "/v1/challenge":
		out, err = b.challenge()
	case "/v1/enroll":
		out, err = b.enroll(body)
	case "/v1/release":
		out, err = b.release(body, binding.KeyPurposes()...)
	case "/v1/token":
		b.Tokens++
		out, err = b.release(body, binding.PurposeToken)
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if err != nil {
		Refuse(w, http.StatusBadRequest, "bad_request")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

// Refuse writes an error as the native door does.
func Refuse(w http.ResponseWriter, status int, reason string) {
	var e binding.ErrorBody
	e.Error.Code, e.Error.InnerError.Code, e.Error.CorrelationID = "Forbidden", reason, "c-1"
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(e)
}

func (b *Broker) challenge() (any, error) {
	b.Challenges++
	nonce := make([]byte, binding.NonceSize)
	_, _ = rand.Read(nonce)
	b.nonces[string(nonce)] = true
	c := binding.Challenge{Nonce: nonce, Audience: Deployment, Expires: 4e9}
	if b.Challenge != nil {
		b.Challenge(&c)
	}
	return c, nil
}

func (b *Broker) release(body []byte, purposes ...string) (any, error) {
	b.Releases++
	var req binding.ReleaseRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	rd, err := binding.Parse(req.RuntimeData)
	if err != nil {
		return nil, err
	}
	if !b.nonces[string(rd.Nonce)] || !slices.Contains(purposes, rd.Purpose) {
		return nil, errReplay
	}
	delete(b.nonces, string(rd.Nonce))
	if b.Verify != nil {
		if err := b.Verify(&req); err != nil {
			return nil, err
		}
	}
	rec, err := b.record(body, rd)
	if err != nil {
		return nil, err
	}
	rcpt, err := b.prove(rec)
	if err != nil {
		return nil, err
	}
	leaf := receipt.LeafHash(rcpt.Leaf)
	info, aad := receipt.WrapInfo(req.RuntimeData), leaf[:]
	if b.Wrapped != nil {
		info, aad = b.Wrapped(info, aad)
	}
	sealed, err := wrap.Wrapper{}.Wrap(rd.Recipient(), rd.Enc, b.Material, info, aad)
	if err != nil {
		return nil, err
	}
	rsp := receipt.Response{
		Request: sha256.Sum256(body), KID: KeyURL + "/" + Version, Policy: rec.Policy, Time: rec.Time,
		Enc: rd.Enc, Ciphertext: sealed, Receipt: rcpt, Kty: b.Kty, Tags: b.Tags,
	}
	if rd.Purpose == binding.PurposeToken {
		rsp.KID = rd.Vault
	}
	if b.Response != nil {
		b.Response(&rsp)
	}
	jws, err := b.sign(&rsp)
	return binding.ReleaseResponse{Response: jws}, err
}

// record is what an honest broker writes.
func (b *Broker) record(body []byte, rd *binding.RuntimeData) (*receipt.Record, error) {
	r, err := wrap.ParseRecipient(rd.Recipient())
	if err != nil {
		return nil, err
	}
	_, name, _ := strings.Cut(rd.Key, "/keys/")
	name, _, _ = strings.Cut(name, "/")
	rec := &receipt.Record{
		V: 1, Deployment: Deployment, Time: 1790000000000, Kind: receipt.KindRelease, Decision: receipt.Allow, Door: "native",
		Request: sha256.Sum256(body), Nonce: sha256.Sum256(rd.Nonce), Caller: &receipt.Caller{Kind: "machine", ID: "m1"},
		Vault: "vault", Object: name, Version: Version, Policy: receipt.Digest{1}, Recipient: r.Thumbprint(), Enc: rd.Enc,
	}
	switch rd.Purpose {
	case binding.PurposeUnlock, binding.PurposeFormat:
		rec.Detail = map[string]string{"purpose": rd.Purpose}
	case binding.PurposeToken:
		rec.Kind, rec.Object, rec.Version, rec.Policy = receipt.KindToken, "", "", receipt.Digest{}
	}
	if b.Record != nil {
		b.Record(rec)
	}
	return rec, nil
}

// prove puts the record into a log of two entries.
func (b *Broker) prove(rec *receipt.Record) (*receipt.Receipt, error) {
	leaf, err := rec.Encode()
	if err != nil {
		return nil, err
	}
	other := tlog.RecordHash([]byte("genesis"))
	cp := &receipt.Checkpoint{Origin: origin, Size: 2, Root: tlog.NodeHash(other, tlog.RecordHash(leaf))}
	signer := b.log
	if b.LogWith != nil {
		signer = b.LogWith
	}
	text, err := cp.Sign(signer)
	if err != nil {
		return nil, err
	}
	r := &receipt.Receipt{Leaf: leaf, Index: 1, Path: [][]byte{other[:]}, Checkpoint: text}
	if b.Receipt != nil {
		b.Receipt(r)
	}
	return r, nil
}
