package tpm

import (
	"bytes"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/eventlog"
)

// The type of an event is not in its digest: whoever sends the log can relabel a
// real event, and whoever runs the machine later can extend a PCR with an event
// that imitates firmware. What he cannot do is remove a real event from before
// the separator or put one there. So PCRs 0 to 7 are judged by these rules
// before anything is read from them:
//   - exactly one event has a separator's digest, and it is typed EV_SEPARATOR
//   - types that firmware reserves or measures before the separator only are
//     refused elsewhere
//   - a type unknown here leaves the PCR's claims unread
//
// (TCG advisory in go-attestation, docs/event-log-disclosure.md; PFP §10.4.1.)

// judgeFirmware applies the rules. sep[i] is the position of PCR i's separator;
// unknown has a bit for each PCR that gives no claims.
func (l eventLog) judgeFirmware(alg uint16) (sep [8]int, unknown uint32, _ *attest.Rejection) {
	zero, err := digest(alg, []byte{0, 0, 0, 0})
	ones, _ := digest(alg, []byte{0xff, 0xff, 0xff, 0xff})
	if err != nil {
		return sep, 0, attest.Reject(attest.CheckInternal, "%w", err)
	}
	for i := range sep {
		sep[i] = -1
	}
	for i := range l {
		e := &l[i]
		if e.Type == evNoAction || e.PCR > 7 {
			continue
		}
		isSep := bytes.Equal(e.Digest, zero) || bytes.Equal(e.Digest, ones)
		if isSep && e.Type == evSCRTMContents {
			// Real firmware does this (four zero bytes as a component of the S-CRTM),
			// but it could as well be the separator: nothing is read from this PCR.
			unknown |= 1 << e.PCR
			continue
		}
		if isSep != (e.Type == evSeparator) {
			return sep, 0, untrusted(e, "an error separator, or a separator under another type")
		}
		if isSep {
			if sep[e.PCR] >= 0 {
				return sep, 0, untrusted(e, "a second separator")
			}
			sep[e.PCR] = i
			continue
		}
		switch place(e.Type) {
		case placeNever:
			return sep, 0, untrusted(e, "a reserved type")
		case placePreOS:
			if sep[e.PCR] >= 0 {
				return sep, 0, untrusted(e, "a firmware event after the separator")
			}
		case placeUnknown:
			unknown |= 1 << e.PCR
		case placeAny:
		}
	}
	for i, at := range sep {
		if at < 0 {
			unknown |= 1 << i
		}
	}
	return sep, unknown, nil
}

func untrusted(e *eventlog.Event, what string) *attest.Rejection {
	return attest.Reject(attest.CheckEventLogType, "event log: PCR %d has %s (type %#x)", e.PCR, what, e.Type)
}

type placing int

const (
	placeUnknown placing = iota
	placeNever           // reserved: no firmware extends PCRs 0 to 7 with it
	placePreOS           // before the separator only
	placeAny
)

// place says where a type may stand in PCRs 0 to 7.
func place(typ uint32) placing {
	switch typ {
	case evPrebootCert, evUnused:
		return placeNever
	case evPostCode, evPostCode2, evSCRTMContents, evSCRTMVersion, evCPUMicrocode, evPlatformConfigFlags,
		evTableOfDevices, evNonhostCode, evNonhostConfig, evNonhostInfo, evOmitBootDevice,
		evEFIVariableDriverConfig, evEFIPlatformFirmwareBlob, evEFIPlatformFirmwareBlob2, evEFIHCRTM,
		evEFISPDMFirmwareBlob, evEFISPDMFirmwareConfig, evEFISPDMDevicePolicy, evEFISPDMDeviceAuthority:
		return placePreOS
	case evAction, evEventTag, evCompactHash, evEFIVariableBoot, evEFIVariableBoot2, evEFIBootServicesApp,
		evEFIBootServicesDriver, evEFIRuntimeServicesDriver, evEFIGPT, evEFIGPT2, evEFIAction,
		evEFIHandoffTables, evEFIHandoffTables2, evEFIVariableAuthority:
		return placeAny
	}
	return placeUnknown
}

// knownLoader says whether PCRs 8, 9, 11, 12 and 14 hold only what boot loaders
// and the kernel's EFI stub measure there.
func (l eventLog) knownLoader() bool {
	for i := range l {
		e := &l[i]
		switch e.PCR {
		case 8, 9, 11, 12, 14:
			if e.Type != evNoAction && e.Type != evIPL && e.Type != evEventTag && e.Type != evCompactHash && e.Type != evSeparator {
				return false
			}
		}
	}
	return true
}
