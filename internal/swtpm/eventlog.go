package swtpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// evNoAction is EV_NO_ACTION, TCG PC Client PFP §10.4.1 table 27.
const evNoAction = 3

// event is what an entry of the log extended.
type event struct {
	pcr       uint32
	eventType uint32
	digests   []tpm2.TPMTHA
}

// reader walks little-endian fields; the first short read sticks.
type reader struct {
	b   []byte
	err error
}

func (r *reader) next(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.err = errors.New("truncated")
		return make([]byte, min(max(n, 0), 8))
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u16() int    { return int(binary.LittleEndian.Uint16(r.next(2))) }
func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.next(4)) }

// parseLog reads a crypto-agile log (TCG PC Client PFP §10.2.2). It keeps digests
// only; what they mean is the verifier's business.
func parseLog(b []byte) ([]event, error) {
	r := &reader{b: b}
	sizes, err := r.specID()
	if err != nil {
		return nil, err
	}
	var out []event
	for len(r.b) > 0 {
		e := event{pcr: r.u32(), eventType: r.u32()}
		n := r.u32()
		if int64(n) != int64(len(sizes)) {
			return nil, fmt.Errorf("event %d has %d digests, header lists %d", len(out), n, len(sizes))
		}
		for range n {
			alg := tpm2.TPMAlgID(r.u16())
			size, ok := sizes[alg]
			if !ok {
				return nil, fmt.Errorf("event %d: digest of unlisted algorithm %#x", len(out), alg)
			}
			if slices.ContainsFunc(e.digests, func(d tpm2.TPMTHA) bool { return d.HashAlg == alg }) {
				return nil, fmt.Errorf("event %d: two digests of algorithm %#x", len(out), alg)
			}
			e.digests = append(e.digests, tpm2.TPMTHA{HashAlg: alg, Digest: r.next(size)})
		}
		r.next(int(r.u32()))
		if r.err != nil {
			return nil, fmt.Errorf("event %d: %w", len(out), r.err)
		}
		out = append(out, e)
	}
	return out, nil
}

// specID reads the first event: algorithms of the log and their digest sizes.
func (r *reader) specID() (map[tpm2.TPMAlgID]int, error) {
	r.next(4 + 4 + 20) // PCR, type, SHA-1 digest: always 0, EV_NO_ACTION, zeros
	h := &reader{b: r.next(int(r.u32()))}
	if r.err != nil || !bytes.Equal(h.next(16), []byte("Spec ID Event03\x00")) {
		return nil, errors.New("not a crypto-agile log")
	}
	h.next(8) // platform class, versions, uintn size
	sizes := map[tpm2.TPMAlgID]int{}
	for range min(h.u32(), 16) {
		alg, size := tpm2.TPMAlgID(h.u16()), h.u16()
		i := slices.IndexFunc(banks, func(b bank) bool { return b.alg == alg })
		if i < 0 || banks[i].hash.Size() != size {
			return nil, fmt.Errorf("log has a bank %#x of %d bytes, which this TPM has not", alg, size)
		}
		sizes[alg] = size
	}
	if h.err != nil || len(sizes) == 0 {
		return nil, errors.New("malformed Spec ID event")
	}
	return sizes, nil
}
