package boot

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The binary header, LUKS2 On-Disk Format Specification 1.1 §2.1: one sector, followed by
// the JSON area; the second copy follows the first.
const (
	binarySize   = 4096
	minCopy      = 16 << 10 // of a copy, binary header and JSON area
	maxCopy      = 4 << 20
	maxHeader    = 32 << 20 // up to the data
	headerAlign  = 1 << 20
	magicFirst   = "LUKS\xba\xbe"
	magicSecond  = "SKUL\xba\xbe"
	offVersion   = 6
	offSize      = 8
	offSequence  = 16
	offLabel     = 24
	offAlgorithm = 72
	offSalt      = 104
	offUUID      = 168
	offSubsystem = 208
	offPosition  = 256
	offReserved  = 264
	offChecksum  = 448
	endChecksum  = 512
)

// header is a LUKS2 header whose shape is the one that this package makes.
type header struct {
	raw  []byte // the disk from 0 to the start of its data
	uuid string
	metadata
	key      string // slot that the released key opens
	recovery string // slot, "" for none
	keyURL   string // with the version that was released when the disk was sealed
}

// digest is the form that HeaderTag has.
func (h *header) digest() string {
	d := sha256.Sum256(h.raw)
	return "sha256:" + hex.EncodeToString(d[:])
}

// readHeader reads the header of a disk, once, and checks its shape.
func readHeader(disk io.ReaderAt) (*header, error) {
	size, err := dataOffset(disk)
	if err != nil {
		return nil, err
	}
	raw, err := beginning(disk, size)
	if err != nil {
		return nil, err
	}
	return parseHeader(raw)
}

// beginning is the first n bytes of a disk.
func beginning(disk io.ReaderAt, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := disk.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		return nil, tampered("there is no LUKS2 header: the disk ends within %d bytes", n)
	}
	if err != nil {
		return nil, fmt.Errorf("read %d bytes of LUKS2 header: %w", n, err)
	}
	return b, nil
}

// dataOffset is where the disk says its data starts. It only says how much to read:
// what is read is checked as a whole.
func dataOffset(disk io.ReaderAt) (int, error) {
	first, err := beginning(disk, binarySize)
	if err != nil {
		return 0, err
	}
	n, err := copySize(first, magicFirst)
	if err != nil {
		return 0, err
	}
	b, err := beginning(disk, n)
	if err != nil {
		return 0, err
	}
	c, err := parseCopy(b, magicFirst, 0)
	if err != nil {
		return 0, err
	}
	m, err := parseMetadata(c.json)
	if err != nil {
		return 0, err
	}
	return m.dataOffset()
}

// copySize is the size of the copy that begins with the sector b.
func copySize(b []byte, magic string) (int, error) {
	if !bytes.HasPrefix(b, []byte(magic)) {
		if allZero(b) {
			return 0, tampered("the disk is blank where a LUKS2 header should be; nothing is formatted")
		}
		return 0, tampered("there is no LUKS2 header: a plain file system, or another disk; nothing is mounted or formatted")
	}
	if v := binary.BigEndian.Uint16(b[offVersion:]); v != 2 {
		return 0, tampered("LUKS version %d: want 2", v)
	}
	n := binary.BigEndian.Uint64(b[offSize:])
	if n < minCopy || n > maxCopy || n&(n-1) != 0 {
		return 0, tampered("header copies of %d bytes: want a power of two from %d to %d", n, minCopy, maxCopy)
	}
	return int(n), nil
}

// headerCopy is one of the two copies.
type headerCopy struct {
	size                   int // in bytes
	sequence               uint64
	label, uuid, subsystem string
	json                   []byte
}

// parseCopy reads a whole copy that begins at byte at of the disk.
func parseCopy(b []byte, magic string, at uint64) (*headerCopy, error) {
	if n, err := copySize(b[:binarySize], magic); err != nil {
		return nil, err
	} else if n != len(b) {
		return nil, tampered("a header copy says that it has %d bytes, not %d", n, len(b))
	}
	if binary.BigEndian.Uint64(b[offPosition:]) != at {
		return nil, tampered("a header copy lies at another place than it says")
	}
	if text(b[offAlgorithm:offSalt]) != "sha256" {
		return nil, tampered("header checksum %.32q: want sha256", text(b[offAlgorithm:offSalt]))
	}
	if !allZero(b[offReserved:offChecksum]) || !allZero(b[endChecksum:binarySize]) {
		return nil, tampered("the reserved part of the header is not empty")
	}
	h := sha256.New()
	h.Write(b[:offChecksum])
	h.Write(make([]byte, endChecksum-offChecksum))
	h.Write(b[endChecksum:])
	sum, stored := h.Sum(nil), b[offChecksum:endChecksum]
	if subtle.ConstantTimeCompare(sum, stored[:len(sum)]) != 1 || !allZero(stored[len(sum):]) {
		return nil, tampered("the checksum of a header copy is wrong: the disk is damaged, or an update was interrupted")
	}
	json, rest, _ := bytes.Cut(b[binarySize:], []byte{0})
	if !allZero(rest) {
		return nil, tampered("there is something behind the header's JSON")
	}
	return &headerCopy{
		size: len(b), sequence: binary.BigEndian.Uint64(b[offSequence:]), label: text(b[offLabel:offAlgorithm]),
		uuid: text(b[offUUID:offSubsystem]), subsystem: text(b[offSubsystem:offPosition]), json: json,
	}, nil
}

// parseHeader reads the bytes of a disk up to its data. Errors wrap [agent.ErrDisk].
func parseHeader(raw []byte) (*header, error) {
	first, err := firstCopy(raw)
	if err != nil {
		return nil, err
	}
	n := first.size
	second, err := parseCopy(raw[n:2*n], magicSecond, uint64(n))
	if err != nil {
		return nil, fmt.Errorf("second copy: %w", err)
	}
	if first.sequence != second.sequence || first.label != second.label || first.uuid != second.uuid ||
		first.subsystem != second.subsystem || !bytes.Equal(first.json, second.json) {
		return nil, tampered("the two copies of the header differ: an update was interrupted (cryptsetup repair), or someone changed one")
	}
	m, err := parseMetadata(first.json)
	if err != nil {
		return nil, err
	}
	h := &header{raw: raw, uuid: first.uuid, metadata: *m}
	return h, h.check(n)
}

// firstCopy reads the first copy of a header in the bytes of a disk up to its data, which
// have room for both.
func firstCopy(raw []byte) (*headerCopy, error) {
	if len(raw) < 2*minCopy {
		return nil, tampered("%d bytes are too few for a LUKS2 header", len(raw))
	}
	n, err := copySize(raw[:binarySize], magicFirst)
	if err != nil {
		return nil, err
	}
	if len(raw) < 2*n {
		return nil, tampered("the data begins inside the header")
	}
	return parseCopy(raw[:n], magicFirst, 0)
}

// text is a field of fixed size that ends with its first NUL.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

func allZero(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 })
}
