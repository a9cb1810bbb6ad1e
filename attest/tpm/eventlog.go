package tpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds of an event log besides MaxEventLog. The longest real log of the test
// corpus has some 250 events; a hostile one costs at most this many hashes.
const (
	maxEvents     = 4096
	maxAlgorithms = 8
)

// event is one TCG_PCR_EVENT2 (PFP §10.2.2), with the digest of one bank. Its
// slices point into the log. Only index and digest are proven by a replay; type
// and data are what the sender says, until the digest is shown to cover them.
type event struct {
	pcr    uint32
	typ    uint32
	digest []byte
	data   []byte
}

// eventLog is a parsed log.
type eventLog struct {
	events []event // without the leading Spec ID event
}

// logReader takes little-endian log structures apart, like reader.
type logReader struct {
	b   []byte
	bad bool
}

func (r *logReader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *logReader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *logReader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *logReader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *logReader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// logAlgorithm is an entry of the Spec ID event: a bank and its digest size.
type logAlgorithm struct{ id, size uint16 }

// parseEventLog reads a crypto-agile log (PFP §10.2.1) to its last byte and keeps
// the digests of the bank alg. A log without that bank is refused.
func parseEventLog(b []byte, alg uint16) (*eventLog, error) {
	if len(b) > MaxEventLog {
		return nil, fmt.Errorf("%d bytes, limit %d", len(b), MaxEventLog)
	}
	r := logReader{b: b}
	algs, err := readSpecID(&r)
	if err != nil {
		return nil, err
	}
	if indexOf(algs, alg) < 0 {
		return nil, fmt.Errorf("log has no digests of the quoted bank %#04x", alg)
	}
	l := &eventLog{events: make([]event, 0, min(maxEvents, len(b)/100+1))}
	for len(r.b) > 0 {
		if len(l.events) == maxEvents {
			return nil, fmt.Errorf("more than %d events", maxEvents)
		}
		e, err := readEvent(&r, algs, alg)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", len(l.events)+1, err)
		}
		l.events = append(l.events, e)
	}
	return l, nil
}

// readSpecID reads the first event, in the old format, which announces the
// banks of all others (PFP §10.4.5.1).
func readSpecID(r *logReader) ([]logAlgorithm, error) {
	pcr, typ := r.u32(), r.u32()
	sha1 := r.take(20)
	data := logReader{b: r.take(uint64(r.u32()))}
	signature := data.take(16)
	if r.bad || pcr != 0 || typ != evNoAction || !allBytes(sha1, 0) || !bytes.Equal(signature, []byte("Spec ID Event03\x00")) {
		return nil, errors.New("log does not begin with a Spec ID event of the crypto-agile format")
	}
	data.take(8) // platform class, version, errata, size of a native integer
	n := data.u32()
	if n == 0 || n > maxAlgorithms {
		return nil, fmt.Errorf("spec id event announces %d banks, limit %d", n, maxAlgorithms)
	}
	algs := make([]logAlgorithm, n)
	for i := range algs {
		algs[i] = logAlgorithm{data.u16(), data.u16()}
		if size, known := digestSizes(algs[i].id); known && algs[i].size != size {
			return nil, fmt.Errorf("spec id event: digest of %d bytes for algorithm %#04x", algs[i].size, algs[i].id)
		}
		if indexOf(algs[:i], algs[i].id) >= 0 {
			return nil, fmt.Errorf("spec id event announces bank %#04x twice", algs[i].id)
		}
	}
	data.take(uint64(data.u8())) // vendor info
	if data.bad || len(data.b) > 0 {
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
func readEvent(r *logReader, algs []logAlgorithm, alg uint16) (event, error) {
	e := event{pcr: r.u32(), typ: r.u32()}
	n := r.u32()
	if r.bad || n != uint32(len(algs)) {
		return e, fmt.Errorf("%d digests, the log announced %d", n, len(algs))
	}
	var seen uint32
	for range n {
		id := r.u16()
		i := indexOf(algs, id)
		if i < 0 || seen&(1<<i) != 0 {
			return e, fmt.Errorf("digest of bank %#04x, which was not announced or is repeated", id)
		}
		seen |= 1 << i
		d := r.take(uint64(algs[i].size))
		if id == alg {
			e.digest = d
		}
	}
	e.data = r.take(uint64(r.u32()))
	if r.bad {
		return e, errors.New("cut short")
	}
	if e.pcr > 23 && e.typ != evNoAction {
		return e, fmt.Errorf("PCR %d does not exist", e.pcr)
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

func allBytes(b []byte, v byte) bool {
	for _, c := range b {
		if c != v {
			return false
		}
	}
	return true
}
