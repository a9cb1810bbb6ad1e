package azurecvm

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
)

// appraise verifies the hardware's part: a result without binding, and the report data.
func (v *Verifier) appraise(ctx context.Context, hcl *format.HCL, quote []byte, ends []attest.Endorsement, at time.Time) (*attest.Result, []byte, *attest.Rejection) {
	verifier, raw := v.cfg.SNP, hcl.Report
	if hcl.Kind == format.HCLTDX {
		verifier, raw = v.cfg.TDX, quote
	}
	switch {
	case verifier == nil:
		return nil, nil, attest.Reject(attest.CheckTypeNotAllowed, "no verifier for HCL reports of type %d here", hcl.Kind)
	case hcl.Kind == format.HCLTDX && len(quote) == 0:
		return nil, nil, attest.Reject(attest.CheckNotLinked, "a TDREPORT proves nothing outside its machine: TD quote missing")
	case hcl.Kind == format.HCLSNP && len(quote) != 0:
		return nil, nil, attest.Reject(attest.CheckNotLinked, "a TD quote beside the report of an SNP machine")
	}
	res, reportData, rej := verifier.Appraise(ctx, raw, ends, at)
	if rej != nil {
		rej.Identity = nil // of a chip whose tie to this request is not proven
		return nil, nil, rej
	}
	switch {
	case hcl.Kind == format.HCLSNP:
		rej = paravisor(raw)
	case hcl.Report != nil: // the guest client sends none: the quote itself names the runtime JSON
		rej = linked(hcl.Report, quote)
	}
	if rej != nil {
		return nil, nil, rej
	}
	_, mine := v.cfg.Type.Base()
	if _, its := res.Type.Base(); its != mine {
		return nil, nil, attest.Reject(attest.CheckInternal, "verifier of %s inside one of %s", res.Type, v.cfg.Type)
	}
	if res.Facts.Debug {
		return nil, nil, attest.Reject(attest.CheckDebug, "the machine runs in debug mode")
	}
	return res, reportData, nil
}

// vmplAt is the offset of VMPL in an SNP report (SEV-SNP ABI 56860, table 23).
const vmplAt = 0x30

// paravisor refuses a report that the guest's kernel could have asked for: only what
// runs at VMPL 0, the paravisor, may speak for the vTPM.
func paravisor(report []byte) *attest.Rejection {
	if vmpl := binary.LittleEndian.Uint32(report[vmplAt:]); vmpl != 0 {
		return attest.Reject(attest.CheckVMPL, "report made at VMPL %d, the paravisor has 0", vmpl)
	}
	return nil
}

// Where a TDREPORT (Intel TDX module ABI, TDREPORT_STRUCT) has what the body of a TD
// quote repeats.
const (
	tdReportData, tdReportDataEnd = 128, 192
	tdTCBInfo, tdTCBInfoEnd       = 264, 384 // TEE_TCB_SVN, MRSEAM, MRSIGNERSEAM, SEAM attributes
	tdInfo, tdInfoEnd             = 512, 912 // attributes, XFAM, MRTD, MRCONFIGID, MROWNER(CONFIG), RTMRs
	tdBodySize                    = 584
)

// linked proves that the quote was made of this TDREPORT: body and TDREPORT agree in
// every field that both have.
func linked(report, quote []byte) *attest.Rejection {
	const header, descriptor = 48, 6 // version 5 has type and size in front of the body
	at := header
	if len(quote) > 2 && binary.LittleEndian.Uint16(quote) == 5 {
		at += descriptor
	}
	if len(quote) < at+tdBodySize {
		return attest.Reject(attest.CheckMalformed, "TD quote of %d bytes", len(quote))
	}
	want := bytes.Join([][]byte{report[tdTCBInfo:tdTCBInfoEnd], report[tdInfo:tdInfoEnd], report[tdReportData:tdReportDataEnd]}, nil)
	if !bytes.Equal(quote[at:at+tdBodySize], want) {
		return attest.Reject(attest.CheckNotLinked, "the TD quote was not made of the TDREPORT in the HCL report")
	}
	return nil
}
