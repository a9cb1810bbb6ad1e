package uki

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
)

// part is a section of an image for tests.
type part struct {
	name string
	data []byte
}

const testAlign = 512

// build writes a PE32+ image with these sections and nothing that could run.
func build(t testing.TB, parts ...part) []byte {
	t.Helper()
	const pe, optional = 64, 112 + 16*8
	table := pe + coffSize + optional
	headers := align(table + len(parts)*sectionSize)
	b := make([]byte, headers)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[60:], pe)
	copy(b[pe:], "PE\x00\x00")
	le.PutUint16(b[pe+4:], 0x8664)
	le.PutUint16(b[pe+6:], uint16(len(parts)))
	le.PutUint16(b[pe+20:], optional)
	le.PutUint16(b[pe+22:], 0x22e)
	opt := b[pe+coffSize:]
	le.PutUint16(opt, magic64)
	le.PutUint32(opt[32:], 4096)            // SectionAlignment
	le.PutUint32(opt[36:], testAlign)       // FileAlignment
	le.PutUint32(opt[60:], uint32(headers)) // SizeOfHeaders
	le.PutUint32(opt[64:], 0xdeadbeef)      // CheckSum
	le.PutUint16(opt[68:], 10)              // EFI application
	le.PutUint32(opt[108:], 16)
	memory := 4096
	for i, p := range parts {
		if len(p.name) > 8 {
			t.Fatal("long name")
		}
		h := b[table+i*sectionSize:]
		copy(h, p.name)
		le.PutUint32(h[8:], uint32(len(p.data)))
		le.PutUint32(h[12:], uint32(memory))
		le.PutUint32(h[16:], uint32(align(len(p.data))))
		le.PutUint32(h[20:], uint32(len(b)))
		le.PutUint32(h[36:], 0x40000040)
		b = append(b, p.data...)
		b = append(b, make([]byte, align(len(b))-len(b))...)
		memory += (len(p.data) + 4095) / 4096 * 4096
	}
	le.PutUint32(b[pe+coffSize+56:], uint32(memory)) // SizeOfImage
	return b
}

func align(n int) int { return (n + testAlign - 1) / testAlign * testAlign }

func sdmagic(version string) part {
	return part{".sdmagic", fmt.Appendf(nil, "#### LoaderInfo: systemd-stub %s ####\x00", version)}
}

// kernel is a PE image that stands for one.
func kernel(t testing.TB) []byte {
	return build(t, part{".text", bytes.Repeat([]byte("linux"), 300)})
}

// sample is a UKI with every section that 252 measures, in another order than it does.
func sample(t testing.TB, version string, more ...part) ([]byte, []part) {
	parts := []part{
		{".pcrpkey", []byte("-----BEGIN PUBLIC KEY-----\n")},
		{".initrd", bytes.Repeat([]byte{7}, 1000)},
		{".osrel", []byte("ID=test\n")},
		{".cmdline", []byte("root=/dev/vda2 ro")},
		{".splash", []byte("BM")},
		{".dtb", []byte{0xd0, 0x0d, 0xfe, 0xed}},
		{".linux", kernel(t)},
	}
	parts = append(parts, more...)
	all := append([]part{{".text", []byte("stub")}, sdmagic(version)}, parts...)
	all = append(all, part{".pcrsig", []byte("{}")})
	return build(t, all...), parts
}
