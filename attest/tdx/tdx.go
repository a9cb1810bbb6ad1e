// Package tdx verifies Evidence of an Intel TDX domain (TD): its quote, what the
// domain is, and the event log (CCEL) that explains its registers (docs/claims.md has
// the claims that come out). The platform under it is evaluated by package dcap.
//
// References: Intel TDX Module 1.5 ABI specification (TDREPORT_STRUCT, ATTRIBUTES,
// XFAM), UEFI 2.11 §38.4 (CCEL).
package tdx

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/attest/eventlog"
	"github.com/openskr/openskr/attest/tdx/format"
)

// maxBody bounds the evidence in bytes, checked before any parsing.
const maxBody = (eventlog.MaxSize+dcap.MaxQuote)*4/3 + 1<<10

// Config holds the trust of a Verifier. It must not be changed after New.
type Config struct {
	// Type is the one type of Evidence that the Verifier takes, "" for
	// [attest.TypeTDX]; a simulation has that type's Simulated.
	Type  attest.Type
	Roots []*x509.Certificate // nil: the Intel SGX Root CA
	// Endorser gives Intel's collateral. Nil: the TCB is unknown and revocation not
	// checked, which a release refuses.
	Endorser attest.Endorser
	// Denied is the deployment's deny list, asked in lower-case hex for PPID, platform
	// instance id, FMSPC, PCK serial number and MRSEAM (the TDX module). Nil: none.
	Denied func(id string) bool
}

// Verifier implements [attest.Verifier] and [attest.Inspector] for TDX.
type Verifier struct {
	cfg  Config
	dcap *dcap.Evaluator
}

var (
	_ attest.Verifier  = (*Verifier)(nil)
	_ attest.Inspector = (*Verifier)(nil)
)

// New makes a Verifier.
func New(cfg Config) (*Verifier, error) {
	if cfg.Type == "" {
		cfg.Type = attest.TypeTDX
	}
	e, err := dcap.New(dcap.Config{Roots: cfg.Roots, Endorser: cfg.Endorser, Denied: cfg.Denied})
	if err != nil {
		return nil, err
	}
	return &Verifier{cfg, e}, nil
}

// Anchors gives the DER of the roots trusted.
func (v *Verifier) Anchors() [][]byte { return v.dcap.Anchors() }

// Inspect implements [attest.Inspector].
func (v *Verifier) Inspect(need attest.Need, doc *attest.Document, at time.Time) (attest.Validity, error) {
	return v.dcap.Inspect(need, doc, at)
}

// Verify implements [attest.Verifier]. In this order, each step on what the one
// before proved:
//   - the PCK certificate chains to a root and is in time, the quoting enclave's
//     report is signed by it and names the attestation key, which signed the quote
//   - the quote's report data is the hash of the runtime data
//   - the domain is not in debug mode and has no attribute unknown here
//   - platform, quoting enclave and TDX module are not denied, not revoked, and have a TCB level
//   - the event log, if there is one, leads to RTMR 0 to 2
//
// From the domain's attributes on, a Rejection carries the machine's identity.
func (v *Verifier) Verify(ctx context.Context, ev attest.Evidence, want attest.Expect) (*attest.Result, error) {
	signed, rej := binding.Signed(ev.RuntimeData, want)
	if rej != nil {
		return nil, rej
	}
	body, rej := v.decode(ev)
	if rej != nil {
		return nil, rej
	}
	p, rej := v.prove(body.Quote, want.At)
	if rej != nil {
		return nil, rej
	}
	if !want.Unbound {
		if rej := binding.CheckReportData(p.Quote.ReportData(), signed); rej != nil {
			return nil, rej
		}
	}
	res, rej := v.judge(ctx, p, body.EventLog, want.At)
	if rej == nil {
		rej = binding.Bind(res, ev.RuntimeData, want)
	}
	if rej != nil {
		id := p.Identity(v.cfg.Type)
		rej.Identity = &id
		return nil, rej
	}
	return res, nil
}

// Appraise judges a quote that is part of composite evidence: everything but its
// report data, which it gives to the caller to check. Certificates come with the
// quote itself.
func (v *Verifier) Appraise(ctx context.Context, quote []byte, _ []attest.Endorsement, at time.Time) (*attest.Result, []byte, *attest.Rejection) {
	p, rej := v.prove(quote, at)
	if rej != nil {
		return nil, nil, rej
	}
	res, rej := v.judge(ctx, p, nil, at)
	if rej != nil {
		return nil, nil, rej
	}
	return res, p.Quote.ReportData(), nil
}

// decode bounds and reads the body.
func (v *Verifier) decode(ev attest.Evidence) (*format.Evidence, *attest.Rejection) {
	var body format.Evidence
	if rej := binding.Body(ev, v.cfg.Type, maxBody, &body, &body.Type); rej != nil {
		return nil, rej
	}
	return &body, nil
}

// prove proves chain and signatures of a quote of a TD.
func (v *Verifier) prove(raw []byte, at time.Time) (*dcap.Proof, *attest.Rejection) {
	q, err := dcap.ParseQuote(raw)
	if err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "quote: %w", err)
	}
	if q.TEE != dcap.TDX {
		return nil, attest.Reject(attest.CheckTypeNotAllowed, "the quote is of an SGX enclave, not of a TD")
	}
	return v.dcap.Prove(q, at)
}

// judge fills a Result from a proven quote.
func (v *Verifier) judge(ctx context.Context, p *dcap.Proof, log []byte, at time.Time) (*attest.Result, *attest.Rejection) {
	td := readReport(p.Quote.Body)
	if v.cfg.Denied != nil && v.cfg.Denied(hexa(td.mrSeam)) {
		return nil, attest.Reject(attest.CheckPlatformDenied, "TDX module %x is on the deny list", td.mrSeam)
	}
	if rej := td.judge(); rej != nil {
		return nil, rej
	}
	a, rej := v.dcap.Appraise(ctx, p, at)
	if rej != nil {
		return nil, rej
	}
	res := &attest.Result{
		Type: v.cfg.Type, Authority: a.Authority, Identity: p.Identity(v.cfg.Type),
		Claims: td.claims(p.Quote.Version, a),
		Facts: attest.Facts{
			Chain: true, Signature: true, Revocation: a.Revocation, Migratable: td.has(migratable),
			TCBStatus: a.TCB.Status, CollateralAge: a.CollateralAge,
		},
	}
	if len(log) > 0 {
		if rej := td.logClaims(res.Claims, log); rej != nil {
			return nil, rej
		}
	}
	return res, nil
}
