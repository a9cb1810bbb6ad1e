package uki

import (
	"bytes"
	"crypto"
	_ "crypto/sha256" // banks
	_ "crypto/sha512"
	"encoding/binary"
	"fmt"
	"slices"
)

// MaxSize bounds an image in bytes.
const MaxSize = 512 << 20

// Of the PE format (Microsoft, "PE Format").
const (
	maxSections     = 96
	sectionSize     = 40
	coffSize        = 24 // with the signature
	optChecksum     = 64
	optHeaders      = 60
	magic32         = 0x10b
	magic64         = 0x20b
	certificateSlot = 4 // data directory
)

// pe is the outline of a PE image: offsets into it that were checked.
type pe struct {
	b        []byte
	headers  int // SizeOfHeaders
	checksum int // offset of CheckSum
	slot     int // offset of the certificate table's directory entry, 0: none
	certs    int // size of the certificate table
	sections []section
}

type section struct {
	name    string
	virtual int // VirtualSize
	offset  int // PointerToRawData
	raw     int // SizeOfRawData
}

// parsePE reads the outline and refuses what a firmware could read in another way.
func parsePE(b []byte) (*pe, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("larger than %d MiB", MaxSize>>20)
	}
	if len(b) < 64 || !bytes.HasPrefix(b, []byte("MZ")) {
		return nil, fmt.Errorf("not a PE image: no MZ header")
	}
	le := binary.LittleEndian
	start := int64(le.Uint32(b[60:]))
	if start+coffSize+2 > int64(len(b)) || string(b[start:start+4]) != "PE\x00\x00" {
		return nil, fmt.Errorf("not a PE image: no PE header")
	}
	coff := b[start:]
	count, optional := int(le.Uint16(coff[6:])), int(le.Uint16(coff[20:]))
	opt := int(start) + coffSize
	if opt+optional > len(b) {
		return nil, fmt.Errorf("optional header is cut off")
	}
	p := &pe{b: b, checksum: opt + optChecksum}
	if err := p.optional(opt, optional); err != nil {
		return nil, err
	}
	table := opt + optional
	switch {
	case count == 0 || count > maxSections:
		return nil, fmt.Errorf("%d sections, want 1 to %d", count, maxSections)
	case p.headers > len(b) || table+count*sectionSize > p.headers:
		return nil, fmt.Errorf("headers of %d bytes do not hold %d sections", p.headers, count)
	}
	return p, p.readSections(b[table : table+count*sectionSize])
}

// optional reads the optional header at off, of size bytes.
func (p *pe) optional(off, size int) error {
	le := binary.LittleEndian
	directories := 96
	switch magic := le.Uint16(p.b[off:]); {
	case magic == magic64:
		directories = 112
	case magic != magic32:
		return fmt.Errorf("optional header of kind %#x", magic)
	}
	if size < directories {
		return fmt.Errorf("optional header of %d bytes", size)
	}
	h := p.b[off : off+size]
	headers, n := le.Uint32(h[optHeaders:]), le.Uint32(h[directories-4:])
	if headers > MaxSize || n > 16 || directories+int(n)*8 > size {
		return fmt.Errorf("optional header of %d bytes with %d directories", size, n)
	}
	p.headers = int(headers)
	if n <= certificateSlot {
		return nil
	}
	p.slot = off + directories + certificateSlot*8
	at, length := int64(le.Uint32(p.b[p.slot:])), int64(le.Uint32(p.b[p.slot+4:]))
	if length != 0 && at+length != int64(len(p.b)) {
		return fmt.Errorf("the signature is not at the end of the image")
	}
	p.certs = int(length)
	return nil
}

func (p *pe) readSections(table []byte) error {
	le := binary.LittleEndian
	end := int64(len(p.b) - p.certs)
	for h := range slices.Chunk(table, sectionSize) {
		name, rest, _ := bytes.Cut(h[:8], []byte{0})
		virtual, raw, at := int64(le.Uint32(h[8:])), int64(le.Uint32(h[16:])), int64(le.Uint32(h[20:]))
		if len(bytes.Trim(rest, "\x00")) != 0 {
			return fmt.Errorf("section name %q", h[:8])
		}
		if raw != 0 && (at < int64(p.headers) || at+raw > end) {
			return fmt.Errorf("section %q lies outside of the image", name)
		}
		if virtual > MaxSize { // it would not fit an int of 32 bits
			return fmt.Errorf("section %q takes %d bytes of memory", name, virtual)
		}
		if raw == 0 {
			at = 0
		}
		p.sections = append(p.sections, section{string(name), int(virtual), int(at), int(raw)})
	}
	ordered := p.inFile()
	for i := 1; i < len(ordered); i++ {
		if before := ordered[i-1]; before.offset+before.raw > ordered[i].offset {
			return fmt.Errorf("sections %q and %q overlap", before.name, ordered[i].name)
		}
	}
	return nil
}

// inFile gives the sections that have bytes in the file, in their order there.
func (p *pe) inFile() []section {
	out := slices.DeleteFunc(slices.Clone(p.sections), func(s section) bool { return s.raw == 0 })
	slices.SortStableFunc(out, func(a, b section) int { return a.offset - b.offset })
	return out
}

// Authenticode is the digest of a PE image that firmware extends into PCR 4 when
// it starts the image (Microsoft, "Windows Authenticode Portable Executable
// Signature Format", as EDK II computes it): everything but checksum, directory
// entry of the signature, and the signature.
func Authenticode(b []byte, h crypto.Hash) ([]byte, error) {
	p, err := parsePE(b)
	if err != nil {
		return nil, err
	}
	return p.authenticode(h)
}

func (p *pe) authenticode(h crypto.Hash) ([]byte, error) {
	sum := h.New()
	sum.Write(p.b[:p.checksum])
	from := p.checksum + 4
	if p.slot != 0 {
		sum.Write(p.b[from:p.slot])
		from = p.slot + 8
	}
	if from > p.headers {
		return nil, fmt.Errorf("headers of %d bytes end inside the optional header", p.headers)
	}
	sum.Write(p.b[from:p.headers])
	done := p.headers
	for _, s := range p.inFile() {
		sum.Write(p.b[s.offset : s.offset+s.raw])
		done += s.raw
	}
	// EDK II counts bytes, not places: with a gap between sections it hashes the end
	// of the last one again.
	if end := len(p.b) - p.certs; done < end {
		sum.Write(p.b[done:end])
	}
	return sum.Sum(nil), nil
}
