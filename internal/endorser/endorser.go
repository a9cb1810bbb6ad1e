// Package endorser gets what authorities publish about their hardware: certificates
// and CRLs of AMD, TCB levels and CRLs of Intel, keys of token issuers. It is the
// broker's [attest.Endorser] and the only part of it that calls out.
//
// It answers from memory, then from its folder, then from the network, so that a
// release on the warm path calls nobody and an authority that is down stops nothing
// until a document ends. Addresses come from the configuration and strictly checked
// IDs, never from Evidence. Nothing is kept or put in place of something that an
// [attest.Inspector] refuses or that is older than what was seen before.
//
// What it returns is not a verdict: the verifier checks signature and time again. A
// document past its next update that cannot be had anew is returned as it is, so that
// the verifier can say collateral_stale instead of collateral_unavailable.
package endorser

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openskr/openskr/attest"
)

// Why a document cannot be had. Every error of [Endorser.Endorse] wraps one of these.
var (
	ErrNeed      = errors.New("no document has this name")
	ErrMissing   = errors.New("not here, and not to be fetched")            // offline
	ErrAuthority = errors.New("the authority does not give the document")   // unreachable, 404, …
	ErrUnknown   = errors.New("the authority knows no such document")       // its answer was 404
	ErrThrottled = errors.New("too many fetches: not asked for now")        // by them or by us
	ErrInvalid   = errors.New("the document is not genuine")                // an Inspector's word
	ErrRollback  = errors.New("the document is older than one seen before") // CRL number, issue date
	ErrStale     = errors.New("the document is past its next update")
)

// Inspect is the check of an [attest.Inspector].
type Inspect = func(need attest.Need, doc *attest.Document, at time.Time) (attest.Validity, error)

// Config is what an Endorser is made of. The zero value works, in memory only.
type Config struct {
	// Dir is the folder of documents; made when absent. "": none is kept over a restart.
	Dir string
	// Inspect checks documents before they are kept. Nil until [Endorser.Use]: then
	// nothing but keys of token issuers can be had.
	Inspect Inspect
	// AMD and Intel are base URLs, https, tried in order. Empty: the authority's own.
	// Intel may name a PCCS. What is behind them need not be trusted: documents are
	// signed.
	AMD, Intel []string
	// Issuers maps a token issuer to the URL of its JWK set, or to its
	// /.well-known/openid-configuration. No other issuer is ever asked. Keys are not
	// signed: whoever answers at this URL can make tokens of the issuer.
	Issuers map[string]string
	// Offline never opens a connection.
	Offline bool
	Timeout time.Duration // of everything one document takes; default 3 s
	MaxSize int64         // of a document, bytes; default 1 MiB
	// Chips bounds how many VCEKs are kept; default 4096. ChipsPerMinute bounds how many
	// are fetched, since a stranger may name any chip; default 30.
	Chips, ChipsPerMinute int
	// Roots are who signs the TLS certificates of mirrors. Nil: the system's.
	Roots *x509.CertPool
	// Client is for tests: its transport is used instead of the own one.
	Client *http.Client

	// Waiting is called when an asker has to wait for an authority, and what it returns
	// when the wait is over: a broker lets others work meanwhile. Nil: nothing.
	Waiting func(ctx context.Context) (over func())
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger     // nil: none
	// Observe is told the kind and one of [Outcomes] for every fetch and every
	// unanswered question. Nil: none.
	Observe func(kind, outcome string)
}

// Outcomes that Config.Observe is told.
const (
	OutcomeOK        = "ok"        // fetched
	OutcomeError     = "error"     // not reachable, or no such document
	OutcomeThrottled = "throttled" // by the authority or by our own limits
	OutcomeInvalid   = "invalid"   // alarm: forged or damaged, from network or disk
	OutcomeRollback  = "rollback"  // alarm: older than what was seen before

	OutcomeUnavailable = "unavailable" // a verifier asked and got nothing
	OutcomeStale       = "stale"       // a verifier asked and got what is past its next update
)

// Outcomes is the closed list, for labels.
func Outcomes() []string {
	return []string{OutcomeOK, OutcomeError, OutcomeThrottled, OutcomeInvalid, OutcomeRollback, OutcomeUnavailable, OutcomeStale}
}

// Kinds is the closed list of kinds, for labels.
func Kinds() []string {
	return []string{
		string(attest.NeedAMDVCEK), string(attest.NeedAMDCRL), string(attest.NeedIntelTCB), string(attest.NeedIntelQE),
		string(attest.NeedIntelPCKCRL), string(attest.NeedIntelRootCRL), string(attest.NeedJWKS),
	}
}

// Endorser implements [attest.Endorser].
type Endorser struct {
	cfg     Config
	kinds   map[attest.NeedKind]kind
	client  *http.Client
	store   *store // nil: memory only
	hosts   *breaker
	chips   *bucket // fetches of VCEKs
	seed    [8]byte // of the jitter
	inspect atomic.Pointer[Inspect]

	mu      sync.Mutex
	held    *shelves
	failed  map[attest.Need]failure // recently, by the document's own fault
	flights map[attest.Need]*flight
}

var _ attest.Endorser = (*Endorser)(nil)

// Use sets the Inspect, and forgets what an earlier one let pass. Verifiers are made
// with an Endorser, so their Inspect comes later than New.
func (e *Endorser) Use(i Inspect) {
	e.inspect.Store(&i)
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.held
	e.held = newShelves(e.cfg.Chips)
	clear(e.failed)
	for need, el := range old.others.items {
		if e.kinds[need.Kind].memory { // no Inspect had a part in it
			e.held.others.put(el.Value.(*entry))
		}
	}
}

// Endorse implements [attest.Endorser]. The Document is shared: it must not be changed.
func (e *Endorser) Endorse(ctx context.Context, need attest.Need) (*attest.Document, error) {
	// What is held was checked before.
	if held := e.get(need); held != nil && e.cfg.Now().Before(held.fresh) {
		return held.doc, nil
	}
	k, err := e.check(need)
	if err != nil {
		return nil, err
	}
	f := e.fly(need, k, false)
	if e.cfg.Waiting != nil {
		defer e.cfg.Waiting(ctx)()
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrAuthority, context.Cause(ctx))
	}
	if f.err != nil {
		e.observe(need, OutcomeUnavailable)
		return nil, f.err
	}
	if f.stale {
		e.observe(need, OutcomeStale)
	}
	return f.doc, nil
}

func (e *Endorser) observe(need attest.Need, outcome string) {
	if e.cfg.Observe != nil {
		e.cfg.Observe(string(need.Kind), outcome)
	}
}

// alarm says that somebody serves or stored what no honest authority would.
func (e *Endorser) alarm(need attest.Need, outcome, from string, err error) {
	e.observe(need, outcome)
	e.cfg.Logger.Error("collateral refused", "kind", string(need.Kind), "id", need.ID, "outcome", outcome, "from", from, "error", err)
}
