package tpm

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/eventlog"
)

// logClaims replays the log against the quoted PCRs and adds to claims what the
// log proves. A PCR outside 0 to 7 that the log does not explain is reported and
// gives no claims; one of 0 to 7 refuses the evidence, since then the log is not
// this boot's.
func logClaims(claims attest.Claims, raw []byte, pcrs *bank) *attest.Rejection {
	log, err := parseEventLog(raw, pcrs.alg)
	if err != nil {
		return attest.Reject(attest.CheckEventLog, "event log: %w", err)
	}
	explained, unexplained, rej := log.explain(pcrs)
	if rej != nil {
		return rej
	}
	complete := false
	if explained&firmwarePCRs == firmwarePCRs {
		sep, unknown, rej := log.judgeFirmware(pcrs.alg)
		if rej != nil {
			return rej
		}
		policy, rej := log.firmwareClaims(claims, pcrs.alg, sep, unknown, explained)
		if rej != nil {
			return rej
		}
		complete = unknown == 0 && policy && log.knownLoader()
	}
	if tpm, ok := claims["tpm"].(map[string]any); ok {
		tpm["eventlog"] = map[string]any{"present": true, "complete": complete, "unexplained": unexplained}
	}
	return nil
}

// explain compares the log's replay with the quoted values: a bit mask of the
// PCRs it explains, and the list of those it does not.
func (l eventLog) explain(pcrs *bank) (mask uint32, unexplained []any, _ *attest.Rejection) {
	replayed, err := l.replay(pcrs.alg, pcrs.size)
	if err != nil {
		return 0, nil, attest.Reject(attest.CheckEventLog, "event log: %w", err)
	}
	unexplained = []any{}
	for i, want := range pcrs.values {
		switch {
		case want == nil:
		case bytes.Equal(replayed.values[i][:pcrs.size], want), replayed.touched&(1<<i) == 0 && untouched(i, want):
			mask |= 1 << i
		case i < 8:
			r := attest.Reject(attest.CheckEventLogReplay, "the log does not lead to the quoted value of PCR %d", i)
			r.Expected, r.Got = fmt.Sprintf("%x", want), fmt.Sprintf("%x", replayed.values[i][:pcrs.size])
			return 0, nil, r
		default:
			unexplained = append(unexplained, int64(i))
		}
	}
	return mask, unexplained, nil
}

// untouched says whether a PCR without events has its value after reset: zero,
// or all ones for those of a dynamic launch (PFP §3.3.1).
func untouched(i int, value []byte) bool {
	return i >= 17 && i <= 22 && bytes.Count(value, []byte{0xff}) == len(value)
}

// replayed are the PCR values that a log leads to.
type replayed struct {
	values  [24][48]byte
	touched uint32
}

// replay extends every event's digest. EV_NO_ACTION extends nothing; the one
// named StartupLocality, before anything of PCR 0, gives that PCR's start value
// (PFP §10.4.5.3), and so does a first event of an H-CRTM, which is locality 4.
func (l eventLog) replay(alg uint16, size int) (*replayed, error) {
	r := &replayed{}
	located := false
	buf := make([]byte, 0, 96)
	for i := range l {
		e := &l[i]
		if e.Type == evNoAction {
			locality, ok := startupLocality(e.Data)
			switch {
			case !ok:
			case located || e.PCR != 0 || r.touched&1 != 0 || locality != 0 && locality != 3 && locality != 4:
				return nil, fmt.Errorf("startup locality %d is repeated, late or unknown", locality)
			default:
				located = true
				r.values[0][size-1] = locality
			}
			continue
		}
		if e.Type == evEFIHCRTM && e.PCR == 0 && r.touched&1 == 0 && !located {
			r.values[0][size-1] = 4
		}
		r.touched |= 1 << e.PCR
		v := &r.values[e.PCR]
		buf = append(append(buf[:0], v[:size]...), e.Digest...)
		if alg == algSHA256 {
			d := sha256.Sum256(buf)
			copy(v[:], d[:])
		} else {
			*v = sha512.Sum384(buf)
		}
	}
	return r, nil
}

func startupLocality(data []byte) (uint8, bool) {
	rest, ok := bytes.CutPrefix(data, []byte("StartupLocality\x00"))
	if !ok || len(rest) != 1 {
		return 0, false
	}
	return rest[0], true
}

// firmwareClaims reads the claims of the PCRs that are explained and whose
// events are all known. sep holds each firmware PCR's separator. policy says
// whether the secure boot policy was among them.
func (l eventLog) firmwareClaims(claims attest.Claims, alg uint16, sep [8]int, unknown, explained uint32) (policy bool, rej *attest.Rejection) {
	boot := map[string]any{}
	if unknown&(1<<0) == 0 {
		l.firmwareVersion(boot, alg, sep[0])
	}
	if unknown&(1<<7) == 0 {
		if policy, rej = l.secureBoot(claims, alg, sep[7]); rej != nil {
			return false, rej
		}
	}
	l.commandLine(boot, alg, explained)
	if len(boot) > 0 {
		claims["boot"] = boot
	}
	return policy, nil
}

// eventLog is a parsed log, without the leading Spec ID event.
type eventLog []eventlog.Event

func parseEventLog(raw []byte, alg uint16) (eventLog, error) { return eventlog.Parse(raw, alg) }
