package gce

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/gce/format"
	"github.com/openskr/openskr/attest/tpm"
)

// addHardware verifies the hardware's part, where there is one, and joins it to res.
// A fact that either part denies is denied.
func (v *Verifier) addHardware(ctx context.Context, res *attest.Result, body *format.Evidence, ak *tpm.AK, ends []attest.Endorsement, signed []byte, want attest.Expect) *attest.Rejection {
	verifier, raw := v.cfg.SNP, body.SNPReport
	if len(body.TDXQuote) > 0 {
		verifier, raw = v.cfg.TDX, body.TDXQuote
	}
	if len(raw) == 0 {
		return nil
	}
	if verifier == nil {
		return attest.Reject(attest.CheckTypeNotAllowed, "no verifier for this hardware here")
	}
	hw, reportData, rej := verifier.Appraise(ctx, raw, theirs(ends), want.At)
	if rej == nil {
		rej = linked(reportData, signed, ak)
	}
	if rej != nil {
		return rej
	}
	_, mine := v.cfg.Type.Base()
	if _, its := hw.Type.Base(); its != mine {
		return attest.Reject(attest.CheckInternal, "verifier of %s inside one of %s", hw.Type, v.cfg.Type)
	}
	if hw.Facts.Debug {
		return attest.Reject(attest.CheckDebug, "the machine runs in debug mode")
	}
	if rej := join(res, hw); rej != nil {
		return rej
	}
	if release := want.SignedData == nil && !want.Unbound; release && len(body.SNPReport) > 0 {
		return privileged(hw.Claims)
	}
	return nil
}

// privileged refuses an SNP report that a program below the guest's kernel could have
// asked for, naming the AK of a machine of its choice: keys go to level 0 alone.
func privileged(claims attest.Claims) *attest.Rejection {
	snp, _ := claims["snp"].(map[string]any)
	if level, ok := snp["vmpl"].(int64); !ok || level != 0 {
		return attest.Reject(attest.CheckVMPL, "the SNP report is of privilege level %v, which gets no keys here", snp["vmpl"])
	}
	return nil
}

// theirs leaves out the AK's certificate, which the hardware's verifiers do not know.
func theirs(ends []attest.Endorsement) []attest.Endorsement {
	return slices.DeleteFunc(slices.Clone(ends), func(e attest.Endorsement) bool { return e.Type == attest.EndorsementAKCertificate })
}

// linked proves that the report was made for this data on the machine of this AK: its
// report data is what was signed, the hash of the AK behind it, and zeros.
func linked(reportData, signed []byte, ak *tpm.AK) *attest.Rejection {
	key := sha256.Sum256(ak.Raw)
	at := len(signed)
	if at == 0 { // nothing to bind to: the AK stands where it stands behind a hash
		at = sha256.Size
	}
	if len(reportData) != binding.ReportDataSize || at+len(key) > len(reportData) {
		return attest.Reject(attest.CheckReportData, "signed data of %d bytes leaves no room for the AK", at)
	}
	rest := make([]byte, len(reportData)-at)
	copy(rest, key[:])
	if !bytes.Equal(reportData[at:], rest) {
		return attest.Reject(attest.CheckNotLinked, "the hardware's report does not name the AK of the vTPM: it may be of another machine")
	}
	if len(signed) == 0 {
		return nil
	}
	return binding.CheckReportData(reportData, signed, key[:]...)
}

// join adds the hardware's claims and facts to those of the vTPM.
func join(res, hw *attest.Result) *attest.Rejection {
	for name, c := range hw.Claims {
		if _, twice := res.Claims[name]; twice {
			return attest.Reject(attest.CheckInternal, "vTPM and hardware both claim %s", name)
		}
		res.Claims[name] = c
	}
	f, h := &res.Facts, hw.Facts
	f.Chain, f.Signature = f.Chain && h.Chain, f.Signature && h.Signature
	f.Debug, f.Migratable = f.Debug || h.Debug, f.Migratable || h.Migratable
	if h.Revocation != attest.Checked {
		f.Revocation = h.Revocation
	}
	f.TCBStatus, f.CollateralAge = h.TCBStatus, h.CollateralAge
	return nil
}
