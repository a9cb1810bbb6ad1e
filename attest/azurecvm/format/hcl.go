package format

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
)

// HCL is the report of the paravisor (Host Compatibility Layer) in its parts. In NV
// it lies as, little endian:
//
//	0     "HCLA", version (1 or 2), length of all that follows but padding, request
//	      type 2, status 0, 12 zero bytes
//	32    report of the hardware, 1184 bytes; a TDREPORT has 1024 and zeros behind it
//	1216  length from here, version 1, report type, hash type, length of the JSON
//	1236  runtime JSON, whose hash is the report data; zeros behind it
type HCL struct {
	Version uint32 // 1 or 2
	Kind    uint32 // HCLSNP or HCLTDX
	Hash    uint32 // of the runtime JSON in the report data: 1 SHA-256, 2 SHA-384, 3 SHA-512
	Report  []byte // ATTESTATION_REPORT of 1184 bytes, or TDREPORT of 1024
	Runtime []byte // JSON, byte for byte as hashed
}

// Kinds of report in an HCL.
const (
	HCLSNP = 2
	HCLTDX = 4
)

// Hash types of an HCL.
const (
	HCLSHA256 = 1
	HCLSHA384 = 2
	HCLSHA512 = 3
)

const (
	hclMagic     = 0x414c4348 // "HCLA"
	hclRequest   = 2
	hclHardware  = 32
	hclRuntime   = hclHardware + snpReport
	hclJSON      = hclRuntime + 20
	snpReport    = 1184
	tdReport     = 1024
	tdReportType = 0x81 // first byte of a TDREPORT

	// MaxHCL bounds an HCL in bytes; the index of a real machine has 2048 or 2600.
	MaxHCL = 8 << 10
)

// ParseHCL takes apart what NV index 0x01400001 holds. It refuses every byte that has
// no meaning and is not zero. The parts alias b.
func ParseHCL(b []byte) (*HCL, error) {
	if len(b) < hclJSON || len(b) > MaxHCL {
		return nil, fmt.Errorf("HCL report of %d bytes, want %d to %d", len(b), hclJSON, MaxHCL)
	}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	h := &HCL{Version: word(4), Kind: word(hclRuntime + 8), Hash: word(hclRuntime + 12)}
	switch {
	case word(0) != hclMagic:
		return nil, fmt.Errorf("HCL report starts with %x", b[:4])
	case h.Version != 1 && h.Version != 2:
		return nil, fmt.Errorf("HCL report has version %d, want 1 or 2", h.Version)
	case word(12) != hclRequest || !zero(b[16:hclHardware]):
		return nil, fmt.Errorf("HCL report header %x: not the answer to a report request", b[12:hclHardware])
	case word(hclRuntime+4) != 1:
		return nil, fmt.Errorf("HCL runtime data has version %d, want 1", word(hclRuntime+4))
	case h.Hash < HCLSHA256 || h.Hash > HCLSHA512:
		return nil, fmt.Errorf("HCL hash type %d", h.Hash)
	}
	size := word(hclRuntime + 16)
	if size > uint32(len(b)-hclJSON) || word(hclRuntime) != size+20 || word(8) != hclRuntime+20+size {
		return nil, fmt.Errorf("HCL lengths %d, %d and %d contradict each other or the %d bytes given", word(8), word(hclRuntime), size, len(b))
	}
	end := hclJSON + int(size)
	if !zero(b[end:]) {
		return nil, errors.New("HCL report: bytes behind the runtime data")
	}
	h.Runtime = b[hclJSON:end:end]
	return h, h.report(b[hclHardware:hclRuntime:hclRuntime])
}

// report cuts the report of the hardware to its length.
func (h *HCL) report(b []byte) error {
	switch h.Kind {
	case HCLSNP:
		h.Report = b
	case HCLTDX:
		h.Report = b[:tdReport:tdReport]
		if !zero(b[tdReport:]) || !isTDReport(h.Report) {
			return errors.New("HCL report of type TDX holds no TDREPORT")
		}
	default:
		return fmt.Errorf("HCL report of type %d, want SNP (%d) or TDX (%d)", h.Kind, HCLSNP, HCLTDX)
	}
	return nil
}

// isTDReport checks the form of a TDREPORT (Intel TDX module ABI, TDREPORT_STRUCT): its
// type, and the hashes of its two parts. Its MAC only its own processor can check.
func isTDReport(r []byte) bool {
	tcb, info := sha512.Sum384(r[256:495]), sha512.Sum384(r[512:])
	return r[0] == tdReportType && r[1] == 0 && r[2] <= 1 && zero(r[3:16]) && zero(r[192:224]) && zero(r[495:512]) &&
		bytes.Equal(r[32:80], tcb[:]) && bytes.Equal(r[80:128], info[:])
}

// Encode is the inverse of ParseHCL, without padding.
func (h *HCL) Encode() []byte {
	size := uint32(len(h.Runtime))
	b := make([]byte, hclJSON, hclJSON+len(h.Runtime))
	for at, v := range map[int]uint32{
		0: hclMagic, 4: h.Version, 8: hclJSON + size, 12: hclRequest,
		hclRuntime: 20 + size, hclRuntime + 4: 1, hclRuntime + 8: h.Kind, hclRuntime + 12: h.Hash, hclRuntime + 16: size,
	} {
		binary.LittleEndian.PutUint32(b[at:], v)
	}
	copy(b[hclHardware:hclRuntime], h.Report)
	return append(b, h.Runtime...)
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
