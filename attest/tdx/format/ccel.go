package format

import "encoding/binary"

// TrimCCEL cuts what stands behind the last event of a log as firmware leaves it in
// memory: the ACPI table gives the size of the area, and the rest of it is 0xff or
// zero. Evidence carries the log cut; a log in another format is returned as it is.
func TrimCCEL(b []byte) []byte {
	const header = 32 // TCG_PCClientPCREvent up to its data
	if len(b) < header {
		return b
	}
	le := binary.LittleEndian
	end := header + uint64(le.Uint32(b[28:]))
	for {
		if end > uint64(len(b)) {
			return b
		}
		next, ok := eventEnd(b[end:])
		if !ok {
			return b[:end:end]
		}
		end += next
	}
}

// eventEnd gives the length of the TCG_PCR_EVENT2 at the beginning of b, which has
// SHA-384 digests only; false at padding.
func eventEnd(b []byte) (uint64, bool) {
	const (
		fixed      = 12 // index, type, number of digests
		maxDigests = 8
	)
	if len(b) < fixed || allAre(b[:fixed], 0xff) || allAre(b[:fixed], 0) {
		return 0, false
	}
	n := uint64(binary.LittleEndian.Uint32(b[8:]))
	size := fixed + n*(2+48)
	if n > maxDigests || size+4 > uint64(len(b)) {
		return 0, false
	}
	return size + 4 + uint64(binary.LittleEndian.Uint32(b[size:])), true
}

func allAre(b []byte, v byte) bool {
	for _, c := range b {
		if c != v {
			return false
		}
	}
	return true
}
