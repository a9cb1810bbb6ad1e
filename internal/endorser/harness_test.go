package endorser_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/endorser"
)

// said is the body of a document of these tests; [inspect] believes it.
type said struct {
	Good   bool      `json:"good"`
	Number int64     `json:"number"`
	Issued time.Time `json:"issued"`
	Next   time.Time `json:"next"`
}

func document(number int64, issued time.Time, life time.Duration) []byte {
	b, err := json.Marshal(said{true, number, issued.UTC(), issued.Add(life).UTC()})
	if err != nil {
		panic(err)
	}
	return b
}

// inspect is the verifier's part, without cryptography.
func inspect(_ attest.Need, doc *attest.Document, _ time.Time) (attest.Validity, error) {
	var v said
	if err := json.Unmarshal(doc.Data, &v); err != nil || !v.Good {
		return attest.Validity{}, attest.Reject(attest.CheckCollateralInvalid, "forged")
	}
	return attest.Validity{Issued: v.Issued, NextUpdate: v.Next, Number: v.Number}, nil
}

// authority stands for every host of the Internet, over pipes, so that the clock of
// a test can be turned.
type authority struct {
	mu     sync.Mutex
	calls  []string // "host/path?query"
	answer http.HandlerFunc
	client *http.Client
}

func newAuthority(t *testing.T, answer http.HandlerFunc) *authority {
	t.Helper()
	a := &authority{answer: answer}
	conns := make(chan net.Conn)
	done := make(chan struct{})
	srv := &http.Server{Handler: a, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go func() { _ = srv.Serve(&pipes{conns, done}) }()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		near, far := net.Pipe()
		select {
		case conns <- far:
			return near, nil
		case <-done:
			return nil, errors.New("the network is gone")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	transport := &http.Transport{DialTLSContext: dial, DialContext: dial, DisableKeepAlives: true}
	a.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		close(done)
		_ = srv.Close()
		transport.CloseIdleConnections()
	})
	return a
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.calls = append(a.calls, r.Host+r.URL.RequestURI())
	answer := a.answer
	a.mu.Unlock()
	if strings.Contains(r.URL.Path, "/certification/") {
		w.Header().Set("Tcb-Info-Issuer-Chain", pemHeader)
		w.Header().Set("Sgx-Enclave-Identity-Issuer-Chain", pemHeader)
		w.Header().Set("Sgx-Pck-Crl-Issuer-Chain", pemHeader)
	}
	answer(w, r)
}

const pemHeader = "-----BEGIN%20CERTIFICATE-----%0AMAA%3D%0A-----END%20CERTIFICATE-----%0A"

// change sets what the authority answers from now on.
func (a *authority) change(answer http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

func (a *authority) asked() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.calls...)
}

func (a *authority) wantCalls(t *testing.T, n int) {
	t.Helper()
	if got := a.asked(); len(got) != n {
		t.Fatalf("network calls: got %d, want %d: %q", len(got), n, got)
	}
}

func serve(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if len(header) == 2 {
			w.Header().Set(header[0], header[1])
		}
		w.WriteHeader(code)
	}
}

type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, io.EOF
	}
}
func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// outcomes counts what an Endorser observed.
type outcomes struct {
	mu sync.Mutex
	n  map[string]int
}

func (o *outcomes) observe(kind, outcome string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n == nil {
		o.n = map[string]int{}
	}
	o.n[outcome]++
	o.n[kind+" "+outcome]++
}

func (o *outcomes) want(t *testing.T, outcome string, n int) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n[outcome] != n {
		t.Errorf("outcome %s: got %d, want %d (all: %v)", outcome, o.n[outcome], n, o.n)
	}
}

// make builds an Endorser on the authority.
func build(t *testing.T, a *authority, cfg endorser.Config) (*endorser.Endorser, *outcomes) {
	t.Helper()
	o := &outcomes{}
	cfg.Observe = o.observe
	if cfg.Inspect == nil {
		cfg.Inspect = inspect
	}
	if a != nil {
		cfg.Client = a.client
	}
	e, err := endorser.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e, o
}

func mustEndorse(t *testing.T, e *endorser.Endorser, need attest.Need) *attest.Document {
	t.Helper()
	doc, err := e.Endorse(t.Context(), need)
	if err != nil {
		t.Fatalf("%v: %v", need, err)
	}
	return doc
}

func wantError(t *testing.T, e *endorser.Endorser, need attest.Need, want error) {
	t.Helper()
	doc, err := e.Endorse(t.Context(), need)
	if !errors.Is(err, want) {
		t.Fatalf("%v: got %v and document %v, want error %v", need, err, doc != nil, want)
	}
}

var (
	crl   = attest.Need{Kind: attest.NeedAMDCRL, ID: "vcek/Milan"}
	tcb   = attest.Need{Kind: attest.NeedIntelTCB, ID: "tdx/90c06f000000"}
	month = 30 * 24 * time.Hour
)

// chip names the VCEK of the n-th Milan.
func chip(n int) attest.Need {
	return attest.Need{Kind: attest.NeedAMDVCEK, ID: fmt.Sprintf("Milan/%0128x?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115", n)}
}

func documentOf(number int64, issued time.Time, life time.Duration) *attest.Document {
	return &attest.Document{Data: document(number, issued, life)}
}
