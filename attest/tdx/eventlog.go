package tdx

import (
	"bytes"
	"crypto/sha512"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/eventlog"
)

// Registers as the log counts them (UEFI 2.11 §38.4.1): 0 is MRTD, which the TDX
// module computes while it builds the TD and which no event extends; 1 to 4 are RTMR
// 0 to 3.
const (
	registers = 4
	firmware  = 3 // RTMR 0 to 2, which firmware and boot loader extend
)

// logClaims replays the log against the quoted registers. RTMR 0 to 2 must be led to;
// RTMR 3 belongs to the running system, whose events are in no CCEL, and is reported.
//
// No claim is read from an event: the log proves digests, and the host chooses bytes
// that firmware measures into RTMR 0 as they are (ACPI tables, the boot order), so
// that it can make any digest appear there, also that of a Secure Boot variable.
func (r *report) logClaims(claims attest.Claims, raw []byte) *attest.Rejection {
	events, err := eventlog.ParseCC(raw)
	if err != nil {
		return attest.Reject(attest.CheckEventLog, "event log: %w", err)
	}
	values, rej := replay(events)
	if rej != nil {
		return rej
	}
	unexplained := []any{}
	for i, want := range r.rtmr {
		switch got := values[i][:]; {
		case bytes.Equal(got, want):
		case i < firmware:
			rej := attest.Reject(attest.CheckEventLogReplay, "the log does not lead to the quoted value of RTMR %d", i)
			rej.Expected, rej.Got = hexa(want), hexa(got)
			return rej
		default:
			unexplained = append(unexplained, int64(i))
		}
	}
	if tdx, ok := claims["tdx"].(map[string]any); ok {
		tdx["eventlog"] = map[string]any{"present": true, "complete": len(unexplained) == 0, "unexplained": unexplained}
	}
	return nil
}

// replay extends the digest of every event that is in a register.
func replay(events []eventlog.Event) (values [registers][48]byte, _ *attest.Rejection) {
	for i := range events {
		e := &events[i]
		switch {
		case e.Type == eventlog.NoAction:
			continue
		case e.PCR == 0 || e.PCR > registers:
			return values, attest.Reject(attest.CheckEventLogReplay, "event %d is of register %d, which no event extends", i+1, e.PCR)
		}
		v := &values[e.PCR-1]
		*v = sha512.Sum384(append(append(make([]byte, 0, 96), v[:]...), e.Digest...))
	}
	return values, nil
}
