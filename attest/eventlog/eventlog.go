// Package eventlog reads the log that a platform's firmware keeps of what it
// measured: the crypto-agile format of the TCG PC Client Platform Firmware Profile
// (PFP), which TPMs and, as CCEL, Intel TDX share. It only takes the log apart; what
// a log proves is judged by the verifiers, by replaying it.
package eventlog

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxSize bounds a log in bytes, checked before any parsing. The largest real log of
// the test corpus is 72 kB, most of it dbx; a server with many option ROMs and a full
// dbx reaches a few hundred.
const MaxSize = 512 << 10

// Digest algorithms (TCG Algorithm Registry).
const (
	algSHA256 = 0x000b
	algSHA384 = 0x000c
)

// NoAction is the type of events that are in no register: EV_NO_ACTION.
const NoAction = 0x00000003

// Bounds of an event log besides MaxSize. The longest real log of the test
// corpus has some 250 events; a hostile one costs at most this many hashes.
const (
	MaxEvents     = 4096
	maxAlgorithms = 8
)

// Event is one TCG_PCR_EVENT2 (PFP §10.2.2), with the digest of one bank. Its
// slices point into the log. Only index and digest are proven by a replay; type
// and data are what the sender says, until the digest is shown to cover them.
type Event struct {
	PCR    uint32
	Type   uint32
	Digest []byte
	Data   []byte
}

// Covers says whether the event's digest, of the bank alg, is that of data.
func (e *Event) Covers(alg uint16, data []byte) bool {
	if alg == algSHA256 {
		d := sha256.Sum256(data)
		return bytes.Equal(d[:], e.Digest)
	}
	d := sha512.Sum384(data)
	return bytes.Equal(d[:], e.Digest)
}

// Reader takes little-endian log structures apart. The first read beyond the end
// makes it Bad, and from then on every read gives zero: callers look once.
type Reader struct {
	B   []byte
	Bad bool
}

// Take reads n bytes.
func (r *Reader) Take(n uint64) []byte {
	if r.Bad || n > uint64(len(r.B)) {
		r.Bad = true
		return nil
	}
	out := r.B[:n:n]
	r.B = r.B[n:]
	return out
}

// U8 reads one byte.
func (r *Reader) U8() uint8 {
	if b := r.Take(1); b != nil {
		return b[0]
	}
	return 0
}

// U16 reads two bytes.
func (r *Reader) U16() uint16 {
	if b := r.Take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// U32 reads four bytes.
func (r *Reader) U32() uint32 {
	if b := r.Take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// U64 reads eight bytes.
func (r *Reader) U64() uint64 {
	if b := r.Take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// logAlgorithm is an entry of the Spec ID event: a bank and its digest size.
type logAlgorithm struct{ id, size uint16 }

// Parse reads a crypto-agile log (PFP §10.2.1) to its last byte and keeps the
// digests of the bank alg. A log without that bank is refused. The leading Spec ID
// event is left out.
func Parse(b []byte, alg uint16) ([]Event, error) { return parse(b, alg, 0) }

// ParseCC reads the log of a confidential machine (CCEL, UEFI 2.11 §38.4.1): the same
// format, except that its indices are those of measurement registers, that EDK II gives
// its leading event index 1, and that there is only the bank SHA-384.
func ParseCC(b []byte) ([]Event, error) { return parse(b, algSHA384, 1) }

func parse(b []byte, alg uint16, highest uint32) ([]Event, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%d bytes, limit %d", len(b), MaxSize)
	}
	r := Reader{B: b}
	algs, err := readSpecID(&r, highest)
	if err != nil {
		return nil, err
	}
	if indexOf(algs, alg) < 0 {
		return nil, fmt.Errorf("log has no digests of the quoted bank %#04x", alg)
	}
	events := make([]Event, 0, min(MaxEvents, len(b)/100+1))
	for len(r.B) > 0 {
		if len(events) == MaxEvents {
			return nil, fmt.Errorf("more than %d events", MaxEvents)
		}
		e, err := readEvent(&r, algs, alg)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", len(events)+1, err)
		}
		events = append(events, e)
	}
	return events, nil
}

// readSpecID reads the first event, in the old format, which announces the
// banks of all others (PFP §10.4.5.1).
func readSpecID(r *Reader, highest uint32) ([]logAlgorithm, error) {
	pcr, typ := r.U32(), r.U32()
	sha1 := r.Take(20)
	data := Reader{B: r.Take(uint64(r.U32()))}
	signature := data.Take(16)
	if r.Bad || pcr > highest || typ != NoAction || len(bytes.Trim(sha1, "\x00")) > 0 || !bytes.Equal(signature, []byte("Spec ID Event03\x00")) {
		return nil, errors.New("log does not begin with a Spec ID event of the crypto-agile format")
	}
	data.Take(8) // platform class, version, errata, size of a native integer
	n := data.U32()
	if n == 0 || n > maxAlgorithms {
		return nil, fmt.Errorf("spec id event announces %d banks, limit %d", n, maxAlgorithms)
	}
	algs := make([]logAlgorithm, n)
	for i := range algs {
		algs[i] = logAlgorithm{data.U16(), data.U16()}
		if size, known := digestSizes(algs[i].id); known && algs[i].size != size {
			return nil, fmt.Errorf("spec id event: digest of %d bytes for algorithm %#04x", algs[i].size, algs[i].id)
		}
		if indexOf(algs[:i], algs[i].id) >= 0 {
			return nil, fmt.Errorf("spec id event announces bank %#04x twice", algs[i].id)
		}
	}
	data.Take(uint64(data.U8())) // vendor info
	if data.Bad || len(data.B) > 0 {
		return nil, errors.New("spec id event: wrong length")
	}
	return algs, nil
}

// digestSizes knows the algorithms that appear in real logs.
func digestSizes(id uint16) (uint16, bool) {
	switch id {
	case 0x0004: // SHA-1: skipped, but its size still counts
		return 20, true
	case algSHA256, 0x0012, 0x0027: // and SM3, SHA3-256
		return 32, true
	case algSHA384:
		return 48, true
	case 0x000d: // SHA-512
		return 64, true
	}
	return 0, false
}

// readEvent reads one event: each announced bank exactly once, in any order.
func readEvent(r *Reader, algs []logAlgorithm, alg uint16) (Event, error) {
	e := Event{PCR: r.U32(), Type: r.U32()}
	n := r.U32()
	if r.Bad || n != uint32(len(algs)) {
		return e, fmt.Errorf("%d digests, the log announced %d", n, len(algs))
	}
	var seen uint32
	for range n {
		id := r.U16()
		i := indexOf(algs, id)
		if i < 0 || seen&(1<<i) != 0 {
			return e, fmt.Errorf("digest of bank %#04x, which was not announced or is repeated", id)
		}
		seen |= 1 << i
		d := r.Take(uint64(algs[i].size))
		if id == alg {
			e.Digest = d
		}
	}
	e.Data = r.Take(uint64(r.U32()))
	if r.Bad {
		return e, errors.New("cut short")
	}
	if e.PCR > 23 && e.Type != NoAction {
		return e, fmt.Errorf("PCR %d does not exist", e.PCR)
	}
	return e, nil
}

func indexOf(algs []logAlgorithm, id uint16) int {
	for i, a := range algs {
		if a.id == id {
			return i
		}
	}
	return -1
}
