// Package snp verifies Evidence of an AMD SEV-SNP guest: an attestation report (SEV-SNP
// ABI, document 56860, table 23) of version 2, 3 or 5, signed by a key that AMD
// certifies for a chip (VCEK) or for a cloud (VLEK), of products Milan, Genoa (with
// Siena and Bergamo) and Turin.
//
// What comes out is described in docs/claims.md. Chains, reports, certificate tables
// and revocation lists are read by this package alone; it shares no code with
// go-sev-guest, which its tests compare it with.
package snp

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/snp/format"
	"github.com/openskr/openskr/attest/verified"
)

const (
	maxBody = 8 << 10 // JSON bytes; a report is 1579 characters of base64, the buffer that hosts hand out around one 5334

	chainCache = 4096 // chips; an entry is a few kB
	crlCache   = 16
)

// Config holds the trust of a Verifier. It must not be changed after New.
type Config struct {
	Type     attest.Type // "": attest.TypeSNP
	Products []Product   // nil: AMD's
	// Endorser gives revocation lists, and VCEKs that evidence leaves out. Nil: offline;
	// the chain must come along and Facts.Revocation says not_checked.
	Endorser attest.Endorser
	// Denied is the deployment's own deny list, in lower-case hex or text as the claims
	// have it: snp.chip_id (for Turin also its first 16 digits alone), snp.csp_id of a
	// VLEK, snp.product. Nil: none.
	Denied func(id string) bool
	// VMPLs are the privilege levels to whose reports keys may be released; none: 0 only.
	// A program in a less privileged level of a guest can have reports made of its own
	// level or a higher number, never of a lower.
	VMPLs []uint32
}

// Verifier implements [attest.Verifier] for [attest.TypeSNP].
type Verifier struct {
	cfg      Config
	products []Product
	chains   *verified.Cache[*chain]
	crls     *verified.Cache[*crl]
}

var (
	_ attest.Verifier  = (*Verifier)(nil)
	_ attest.Inspector = (*Verifier)(nil)
)

// New makes a Verifier. It refuses products whose certificates do not certify each
// other, and a configuration for another type of evidence.
func New(cfg Config) (*Verifier, error) {
	if cfg.Type == "" {
		cfg.Type = attest.TypeSNP
	}
	if base, _ := cfg.Type.Base(); base != attest.TypeSNP {
		return nil, errors.New("snp verifier: configured for another type of evidence")
	}
	products := slices.Clone(cfg.Products)
	if cfg.Products == nil {
		var err error
		if products, err = AMD(); err != nil {
			return nil, err
		}
	}
	if len(products) == 0 {
		return nil, errors.New("snp verifier: no product trusted, so no evidence could pass")
	}
	for _, p := range products {
		if err := p.check(); err != nil {
			return nil, err
		}
	}
	if len(cfg.VMPLs) == 0 {
		cfg.VMPLs = []uint32{0}
	}
	return &Verifier{
		cfg: cfg, products: products,
		chains: verified.NewCache[*chain](chainCache), crls: verified.NewCache[*crl](crlCache),
	}, nil
}

// Anchors are the roots (ARKs) that this verifier trusts, DER.
func (v *Verifier) Anchors() [][]byte {
	var out [][]byte
	for _, p := range v.products {
		out = append(out, p.ARK.Raw)
	}
	return out
}

// Verify implements [attest.Verifier]. In this order, each step on what the one
// before proved:
//   - the report has the one shape of its version, everything reserved zero
//   - a certificate of its chip and TCB chains to a root and is in time
//   - that key signed the report; no certificate of the chain is revoked
//   - the report data is the runtime data's hash
//   - the chip is not on the deny list, the guest is not debuggable, its policy has no unknown bits
//   - for a release, the report is of an allowed privilege level
//
// From the deny list on, a Rejection carries the chip's identity.
func (v *Verifier) Verify(ctx context.Context, ev attest.Evidence, want attest.Expect) (*attest.Result, error) {
	signed, rej := binding.Signed(ev.RuntimeData, want)
	if rej != nil {
		return nil, rej
	}
	raw, rej := v.decode(ev)
	if rej != nil {
		return nil, rej
	}
	p, rej := v.prove(ctx, raw, ev.Endorsements, want.At)
	if rej != nil {
		return nil, rej
	}
	if signed != nil {
		if rej := binding.CheckReportData(p.report.reportData, signed); rej != nil {
			return nil, rej
		}
	}
	res, rej := v.judge(p)
	if rej == nil && want.SignedData == nil && !want.Unbound && !slices.Contains(v.cfg.VMPLs, p.report.vmpl) {
		rej = attest.Reject(attest.CheckVMPL, "the report is of privilege level %d, which gets no keys here", p.report.vmpl)
	}
	if rej == nil {
		rej = binding.Bind(res, ev.RuntimeData, want)
	}
	if rej != nil {
		id := v.identity(p)
		rej.Identity = &id
		return nil, rej
	}
	return res, nil
}

// Appraise verifies the report of composite evidence: everything but what its report
// data binds and which privilege level it is of (claim snp.vmpl, 0 to 3), which the
// composite judges. The report data is given whenever the signature over it holds, so
// beside a Rejection too. Rejections carry no Identity: nothing is bound here.
func (v *Verifier) Appraise(ctx context.Context, raw []byte, ends []attest.Endorsement, at time.Time) (*attest.Result, []byte, *attest.Rejection) {
	p, rej := v.prove(ctx, raw, ends, at)
	if rej != nil {
		return nil, nil, rej
	}
	res, rej := v.judge(p)
	return res, bytes.Clone(p.report.reportData), rej
}

// decode bounds and reads the body.
func (v *Verifier) decode(ev attest.Evidence) ([]byte, *attest.Rejection) {
	var body format.Evidence
	if rej := binding.Body(ev, v.cfg.Type, maxBody, &body, &body.Type); rej != nil {
		return nil, rej
	}
	return body.Report, nil
}

// proven is a report whose chain and signature hold.
type proven struct {
	report     *report
	chain      *chain
	revocation attest.Status
	age        time.Duration // of the revocation list
}

// prove verifies chain, signature and revocation.
func (v *Verifier) prove(ctx context.Context, raw []byte, ends []attest.Endorsement, at time.Time) (*proven, *attest.Rejection) {
	r, err := parseReport(raw)
	if err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "%w", err)
	}
	c, key, rej := v.chain(ctx, r, ends, at)
	if rej != nil {
		return nil, rej
	}
	if err := r.verify(c.leaf.pub); err != nil {
		return nil, attest.Reject(attest.CheckSignature, "%w", err)
	}
	if len(ends) > 0 {
		v.remember(key, c)
	}
	p := &proven{report: r, chain: c, revocation: attest.NotChecked}
	if v.cfg.Endorser == nil {
		return p, nil
	}
	issue, rej := v.revoked(ctx, c, at)
	if rej != nil {
		return nil, rej
	}
	p.revocation, p.age = attest.Checked, max(0, at.Sub(issue))
	return p, nil
}

// judge makes the Result of a proven report, unless no policy may have it.
func (v *Verifier) judge(p *proven) (*attest.Result, *attest.Rejection) {
	r := p.report
	for _, id := range p.names() {
		if v.cfg.Denied != nil && v.cfg.Denied(id) {
			return nil, attest.Reject(attest.CheckPlatformDenied, "%s is on the deny list", id)
		}
	}
	switch {
	case r.policy&policyDebug != 0:
		return nil, attest.Reject(attest.CheckDebug, "guest policy %#x allows the host to decrypt the guest", r.policy)
	case r.policy&policyReservedOne == 0, r.policy&^policyKnown != 0:
		return nil, attest.Reject(attest.CheckPlatformBits, "guest policy %#x: bit 17 must be set and none above 25", r.policy)
	case r.vmpl > maxVMPL:
		return nil, attest.Reject(attest.CheckVMPL, "privilege level %#x: the host asked for this report, not the guest", r.vmpl)
	}
	tcbs, err := r.tcbs(p.chain.product.Name)
	if err != nil {
		return nil, attest.Reject(attest.CheckTCBMismatch, "%w", err)
	}
	return &attest.Result{
		Type: v.cfg.Type, Authority: p.chain.product.ARK.Subject.String(), Identity: v.identity(p), Claims: r.claims(p.chain, tcbs),
		Facts: attest.Facts{
			Chain: true, Signature: true, Revocation: p.revocation, CollateralAge: p.age,
			Migratable: r.policy&policyMigrateMA != 0,
		},
	}, nil
}

// identity is the chip's. A VLEK names no chip, so all guests of a cloud that signs
// with one have the cloud's.
func (v *Verifier) identity(p *proven) attest.Identity {
	if l := p.chain.leaf; l.key == VLEK {
		return attest.Identify(v.cfg.Type, []byte("csp:"+l.csp))
	}
	return attest.Identify(v.cfg.Type, p.chain.leaf.hwid)
}

// names are what a deny list may have.
func (p *proven) names() []string {
	l := p.chain.leaf
	if l.key == VLEK {
		return []string{l.csp, l.line}
	}
	return []string{hex.EncodeToString(p.report.chipID), hex.EncodeToString(l.hwid), l.line}
}
