// Package sgx verifies Evidence of an Intel SGX enclave: its quote, and what the
// enclave is. The platform under it is evaluated by package dcap. There is no
// collecting half: enclave runtimes make quotes themselves.
//
// Reference: Intel SDM vol. 3D, chapter 35 (REPORT, ATTRIBUTES).
package sgx

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/attest/sgx/format"
)

// maxBody bounds the evidence in bytes, checked before any parsing.
const maxBody = dcap.MaxQuote*4/3 + 1<<10

// Config holds the trust of a Verifier. It must not be changed after New.
type Config struct {
	// Type is the one type of Evidence that the Verifier takes, "" for
	// [attest.TypeSGX]; a simulation has that type's Simulated.
	Type  attest.Type
	Roots []*x509.Certificate // nil: the Intel SGX Root CA
	// Endorser gives Intel's collateral. Nil: the TCB is unknown and revocation not
	// checked, which a release refuses.
	Endorser attest.Endorser
	// Denied is the deployment's deny list, asked in lower-case hex for PPID, platform
	// instance id, FMSPC and PCK serial number. Nil: none.
	Denied func(id string) bool
}

// Verifier implements [attest.Verifier] and [attest.Inspector] for SGX.
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
		cfg.Type = attest.TypeSGX
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

// Verify implements [attest.Verifier]: chain and signatures, report data, debug,
// platform and TCB, in this order. From debug on, a Rejection carries the identity.
func (v *Verifier) Verify(ctx context.Context, ev attest.Evidence, want attest.Expect) (*attest.Result, error) {
	signed, rej := binding.Signed(ev.RuntimeData, want)
	if rej != nil {
		return nil, rej
	}
	q, rej := v.decode(ev)
	if rej != nil {
		return nil, rej
	}
	p, rej := v.dcap.Prove(q, want.At)
	if rej != nil {
		return nil, rej
	}
	if !want.Unbound {
		if rej := binding.CheckReportData(q.ReportData(), signed); rej != nil {
			return nil, rej
		}
	}
	res, rej := v.judge(ctx, p, want.At)
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

// decode bounds and reads the body and its quote.
func (v *Verifier) decode(ev attest.Evidence) (*dcap.Quote, *attest.Rejection) {
	var body format.Evidence
	if rej := binding.Body(ev, v.cfg.Type, maxBody, &body, &body.Type); rej != nil {
		return nil, rej
	}
	q, err := dcap.ParseQuote(body.Quote)
	if err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "quote: %w", err)
	}
	if q.TEE != dcap.SGX {
		return nil, attest.Reject(attest.CheckTypeNotAllowed, "the quote is of a TD, not of an SGX enclave")
	}
	return q, nil
}

// judge fills a Result from a proven quote.
func (v *Verifier) judge(ctx context.Context, p *dcap.Proof, at time.Time) (*attest.Result, *attest.Rejection) {
	r := readReport(p.Quote.Body)
	if rej := r.judge(); rej != nil {
		return nil, rej
	}
	a, rej := v.dcap.Appraise(ctx, p, at)
	if rej != nil {
		return nil, rej
	}
	return &attest.Result{
		Type: v.cfg.Type, Authority: a.Authority, Identity: p.Identity(v.cfg.Type),
		Claims: r.claims(p.Quote.Version, a),
		Facts: attest.Facts{
			Chain: true, Signature: true, Revocation: a.Revocation,
			TCBStatus: a.TCB.Status, CollateralAge: a.CollateralAge,
		},
	}, nil
}
