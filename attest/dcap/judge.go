package dcap

import (
	"context"
	"slices"
	"time"

	"github.com/openskr/openskr/attest"
)

// judge appraises what p proved with collateral, in the order of Intel's Quote
// Verification Library: revocation, quoting enclave, platform, module.
func (e *Evaluator) judge(ctx context.Context, a *Appraisal, p *Proof, at time.Time) *attest.Rejection {
	info, rej := e.tcbInfo(ctx, p.Quote.TEE, p.PCK, at)
	if rej != nil {
		return rej
	}
	qe, rej := e.qeIdentity(ctx, p.Quote.TEE, at)
	if rej != nil {
		return rej
	}
	rootList, rej := e.list(ctx, attest.Need{Kind: attest.NeedIntelRootCRL}, p.c.root, at)
	if rej != nil {
		return rej
	}
	pckList, rej := e.list(ctx, attest.Need{Kind: attest.NeedIntelPCKCRL, ID: p.PCK.CA}, p.c.ca, at)
	if rej != nil {
		return rej
	}
	if rej := e.revocation(ctx, p, rootList, pckList, at, info.signer, qe.signer); rej != nil {
		return rej
	}
	a.Revocation = attest.Checked
	a.TCB.dates(info, qe, rootList, pckList)
	a.CollateralAge, a.TCB.Number = max(0, at.Sub(a.TCB.Issued)), min(info.Number, qe.Number)
	return a.TCB.converge(info, qe, p)
}

// dates fills in issue and next update. The root's CRL is left out of the age: Intel
// issues it once a year, so that every age would be its.
func (t *TCB) dates(info *tcbInfo, qe *qeIdentity, rootList, pckList *crl) {
	t.Issued, t.NextUpdate = info.IssueDate, info.NextUpdate
	for _, issued := range []time.Time{qe.IssueDate, pckList.issued} {
		if issued.Before(t.Issued) {
			t.Issued = issued
		}
	}
	for _, next := range []time.Time{qe.NextUpdate, pckList.next, rootList.next} {
		if next.Before(t.NextUpdate) {
			t.NextUpdate = next
		}
	}
}

// revocation checks every certificate that the appraisal rests on, except the root,
// which only a change of this program revokes.
func (e *Evaluator) revocation(ctx context.Context, p *Proof, rootList, pckList *crl, at time.Time, signers ...*signer) *attest.Rejection {
	if rej := rootList.judge(p.c.ca); rej != nil {
		return rej
	}
	if rej := pckList.judge(p.c.leaf); rej != nil {
		return rej
	}
	for _, s := range signers {
		list := rootList
		if s.root != p.c.root { // two anchors are configured and collateral is of the other
			var rej *attest.Rejection
			if list, rej = e.list(ctx, attest.Need{Kind: attest.NeedIntelRootCRL}, s.root, at); rej != nil {
				return rej
			}
		}
		if rej := list.judge(s.cert); rej != nil {
			return rej
		}
	}
	return nil
}

// converge finds the levels of platform, TDX module and quoting enclave, and the
// worst of them.
func (t *TCB) converge(info *tcbInfo, qe *qeIdentity, p *Proof) *attest.Rejection {
	enclave, rej := qe.judge(p.c.qe)
	if rej != nil {
		return rej
	}
	var teeSVN []byte
	var module *grade
	if p.Quote.TEE == TDX {
		teeSVN = p.Quote.Body[:16]
		if module, rej = info.module(p.Quote.Body); rej != nil {
			return rej
		}
	}
	platform, rej := info.platform(p.PCK, teeSVN)
	if rej != nil {
		return rej
	}
	t.Platform, t.QE, t.Date = platform.Status, enclave.Status, platform.Date
	var worst flaws
	for _, g := range []*grade{platform, enclave, module} {
		if g == nil {
			continue
		}
		f, known := flawsOf(g.Status)
		if !known {
			return attest.Reject(attest.CheckTCBUnknown, "TCB status %.64q is not known here", g.Status)
		}
		worst |= f
		if g.Date.Before(t.Date) {
			t.Date = g.Date
		}
		t.Advisories = append(t.Advisories, g.Advisories...)
	}
	if module != nil {
		t.Module = module.Status
	}
	slices.Sort(t.Advisories)
	t.Advisories = slices.Compact(t.Advisories)
	if t.Status = worst.String(); t.Status == attest.TCBRevoked {
		return attest.Reject(attest.CheckTCBRevoked, "TCB is revoked (platform %s, TDX module %s, quoting enclave %s)", t.Platform, t.Module, t.QE)
	}
	return nil
}
