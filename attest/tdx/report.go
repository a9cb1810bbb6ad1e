package tdx

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"

	"github.com/openskr/openskr/attest"
)

// report is the TD report in a quote (TDREPORT_STRUCT as quotes carry it; offsets in
// bytes). Its slices point into the quote.
type report struct {
	tcbSVN, mrSeam, mrSignerSeam, seamAttributes, tdAttributes, xfam []byte
	mrTD, mrConfigID, mrOwner, mrOwnerConfig                         []byte
	rtmr                                                             [4][]byte
	reportData                                                       []byte
	tcbSVN2, mrServiceTD                                             []byte // nil in the report of TDX 1.0
	vmid, tdID, devInfo, serviceTDs                                  []byte // nil but in the extended report of TDX 1.5

	attributes, features uint64
}

// readReport takes apart a body whose length package dcap checked.
func readReport(b []byte) *report {
	r := &report{
		tcbSVN: b[0:16], mrSeam: b[16:64], mrSignerSeam: b[64:112], seamAttributes: b[112:120], tdAttributes: b[120:128], xfam: b[128:136],
		mrTD: b[136:184], mrConfigID: b[184:232], mrOwner: b[232:280], mrOwnerConfig: b[280:328],
		reportData: b[520:584],
	}
	for i := range r.rtmr {
		r.rtmr[i] = b[328+48*i : 376+48*i]
	}
	if len(b) > 584 {
		r.tcbSVN2, r.mrServiceTD = b[584:600], b[600:648]
	}
	if len(b) > 648 {
		r.vmid, r.tdID, r.devInfo, r.serviceTDs = b[648:649], b[649:681], b[681:729], b[729:885]
	}
	r.attributes, r.features = binary.LittleEndian.Uint64(r.tdAttributes), binary.LittleEndian.Uint64(r.xfam)
	return r
}

// Bits of ATTRIBUTES (TDX Module 1.5 ABI, table "ATTRIBUTES").
const (
	debugBits     = 0xff // TUD: debug and off-TD profiling, any of which opens the TD to its host
	lass          = 27
	septVEDisable = 28
	migratable    = 29
	protectionKey = 30
	keyLocker     = 31
	perfmon       = 63

	knownAttributes = 1<<lass | 1<<septVEDisable | 1<<migratable | 1<<protectionKey | 1<<keyLocker | 1<<perfmon
)

// Bits of XFAM, numbered as XCR0 and IA32_XSS: x87 and SSE are always on; the others
// known are AVX (2), AVX-512 (5-7), PT (8), PKU (9), CET (11, 12), UINTR (14),
// LBR (15) and AMX (17, 18).
const (
	alwaysFeatures = 0x3
	knownFeatures  = 0x6dbe7
)

// maxVM is the highest index of a VM in a partitioned TD; 0 is the TD itself.
const maxVM = 3

func (r *report) has(bit uint) bool { return r.attributes>>bit&1 == 1 }

// judge refuses a TD that its host can read, and what this version does not know the
// meaning of.
func (r *report) judge() *attest.Rejection {
	switch {
	case r.attributes&debugBits != 0:
		return attest.Reject(attest.CheckDebug, "TD attributes %016x: the host may debug this TD", r.attributes)
	case !zero(r.seamAttributes):
		return attest.Reject(attest.CheckDebug, "SEAM attributes %x: not a production TDX module", r.seamAttributes)
	case !zero(r.mrSignerSeam):
		return attest.Reject(attest.CheckPlatformBits, "MRSIGNERSEAM is not zero: the TDX module is not Intel's")
	case r.attributes&^(knownAttributes|debugBits) != 0:
		return attest.Reject(attest.CheckPlatformBits, "TD attributes %016x have bits unknown here", r.attributes)
	case r.features&^knownFeatures != 0 || r.features&alwaysFeatures != alwaysFeatures:
		return attest.Reject(attest.CheckPlatformBits, "XFAM %016x has bits unknown here, or lacks the two that are always on", r.features)
	case r.vmid != nil && r.vmid[0] > maxVM:
		return attest.Reject(attest.CheckPlatformBits, "VM %d of a TD, which has at most %d", r.vmid[0], maxVM)
	case !zero(r.serviceTDs):
		// Only attribute SERVTD_EXT fills these, and it is unknown here.
		return attest.Reject(attest.CheckPlatformBits, "the report describes service TDs and the TCB at their binding, which is unknown here")
	}
	return nil
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

func hexa(b []byte) string { return hex.EncodeToString(b) }
