package uki

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func parse(t testing.TB, b []byte) *Image {
	t.Helper()
	i, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func texts(events []Event) (out []string) {
	for _, e := range events {
		out = append(out, e.Text)
	}
	return out
}

// TestOrder: sections are measured in the stub's order, not in that of the file,
// and what a version does not measure is left out.
func TestOrder(t *testing.T) {
	extra := []part{{".uname", []byte("6.1.0")}, {".sbat", []byte("sbat,1")}, {".ucode", []byte("u")}, {".profile", []byte("ID=main")}}
	for version, want := range map[string]string{
		"252.39-1~deb12u2": ".linux .osrel .cmdline .initrd .splash .dtb .pcrpkey",
		"257.7-1":          ".linux .osrel .cmdline .initrd .ucode .splash .dtb .uname .sbat .pcrpkey .profile",
		"260":              ".linux .osrel .cmdline .initrd .ucode .splash .dtb .uname .sbat .pcrpkey .profile",
	} {
		b, _ := sample(t, version, extra...)
		i := parse(t, b)
		var want2 []string
		for n := range strings.SplitSeq(want, " ") {
			want2 = append(want2, n, "content of "+n)
		}
		if got := texts(i.PCR11(crypto.SHA256)); strings.Join(got, "|") != strings.Join(want2, "|") || i.Stub != version {
			t.Errorf("%s: %v", version, got)
		}
	}
}

func TestRefused(t *testing.T) {
	good, parts := sample(t, "252.1")
	le := binary.LittleEndian
	edit := func(f func(b []byte)) []byte { b := bytes.Clone(good); f(b); return b }
	const pe, opt, table = 64, 64 + coffSize, 64 + coffSize + 112 + 128
	last := func(b []byte) []byte { return b[table+(len(parts)+2)*sectionSize:] }
	for name, b := range map[string][]byte{
		"empty":                       {},
		"no MZ":                       edit(func(b []byte) { b[0] = 'X' }),
		"PE header outside":           edit(func(b []byte) { le.PutUint32(b[60:], 1<<31) }),
		"no PE":                       edit(func(b []byte) { b[pe] = 'X' }),
		"no sections":                 edit(func(b []byte) { le.PutUint16(b[pe+6:], 0) }),
		"many sections":               edit(func(b []byte) { le.PutUint16(b[pe+6:], 97) }),
		"sections beyond headers":     edit(func(b []byte) { le.PutUint16(b[pe+6:], 40) }),
		"short optional header":       edit(func(b []byte) { le.PutUint16(b[pe+20:], 100) }),
		"long optional header":        edit(func(b []byte) { le.PutUint16(b[pe+20:], 65535) }),
		"magic":                       edit(func(b []byte) { le.PutUint16(b[opt:], 0x107) }),
		"directories":                 edit(func(b []byte) { le.PutUint32(b[opt+108:], 17) }),
		"headers beyond the file":     edit(func(b []byte) { le.PutUint32(b[opt+optHeaders:], 1<<28) }),
		"headers negative":            edit(func(b []byte) { le.PutUint32(b[opt+optHeaders:], 1<<31) }),
		"signature not at the end":    edit(func(b []byte) { le.PutUint32(b[opt+112+32:], 512); le.PutUint32(b[opt+112+36:], 8) }),
		"signature wraps":             edit(func(b []byte) { le.PutUint32(b[opt+112+32:], 1<<32-8); le.PutUint32(b[opt+112+36:], 1<<31) }),
		"section outside":             edit(func(b []byte) { le.PutUint32(last(b)[16:], 1<<20) }),
		"section wraps":               edit(func(b []byte) { le.PutUint32(last(b)[16:], 1<<32-1) }),
		"section over headers":        edit(func(b []byte) { le.PutUint32(last(b)[20:], 0) }),
		"sections overlap":            edit(func(b []byte) { le.PutUint32(last(b)[20:], le.Uint32(last(b)[20:])-512) }),
		"section of 3 GiB in memory":  edit(func(b []byte) { le.PutUint32(last(b)[8:], 3<<30) }),
		"name with a gap":             edit(func(b []byte) { copy(last(b), "a\x00b") }),
		"not a stub":                  build(t, part{".linux", kernel(t)}),
		"stub that says nothing":      build(t, part{".sdmagic", []byte("x")}, part{".linux", kernel(t)}),
		"stub of no version":          build(t, part{".sdmagic", []byte("#### LoaderInfo: systemd-stub ####")}, part{".linux", kernel(t)}),
		"stub without a number":       build(t, sdmagic("v252"), part{".linux", kernel(t)}),
		"stub with a huge number":     build(t, sdmagic(strings.Repeat("9", 40)), part{".linux", kernel(t)}),
		"stub of unknown behaviour":   build(t, sdmagic("254.1"), part{".linux", kernel(t)}),
		"old stub":                    build(t, sdmagic("251"), part{".linux", kernel(t)}),
		"no kernel":                   build(t, sdmagic("252"), part{".osrel", []byte("x")}),
		"two kernels":                 build(t, sdmagic("252"), part{".linux", kernel(t)}, part{".linux", []byte("x")}),
		"two profiles":                build(t, sdmagic("257"), part{".linux", kernel(t)}, part{".profile", []byte("x")}, part{".profile", []byte("y")}),
		"device trees by hardware":    build(t, sdmagic("257"), part{".linux", kernel(t)}, part{".dtbauto", []byte("x")}),
		"more in memory than on disk": edit(func(b []byte) { le.PutUint32(b[table+8*sectionSize+8:], 1<<20) }),
	} {
		if _, err := Parse(b); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := Parse([]byte("#!/bin/sh")); !errors.Is(err, ErrNotUKI) {
		t.Error(err)
	}
	if i := parse(t, good); i.Stub != "252.1" {
		t.Error(i.Stub)
	}
	for n := 0; n < len(good); n += 97 {
		if _, err := Parse(good[:n]); err == nil {
			t.Fatalf("the first %d bytes are taken", n)
		}
	}
}

// TestAuthenticode: every byte counts but those that signing changes.
func TestAuthenticode(t *testing.T) {
	good, _ := sample(t, "252.1")
	want, err := Authenticode(good, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	const opt, data = 64 + coffSize, 64 + coffSize + 112 + 128
	for i := data; i < len(good); i += 31 { // the outline before is TestRefused's
		if i < data+12*sectionSize {
			continue
		}
		b := bytes.Clone(good)
		b[i] ^= 1
		if got, err := Authenticode(b, crypto.SHA256); err != nil || bytes.Equal(got, want) {
			t.Fatalf("byte %d does not count: %v", i, err)
		}
	}
	signed := append(bytes.Clone(good), make([]byte, 64)...)
	le := binary.LittleEndian
	le.PutUint32(signed[opt+optChecksum:], 1)
	le.PutUint32(signed[opt+112+32:], uint32(len(good)))
	le.PutUint32(signed[opt+112+36:], 64)
	got, err := Authenticode(signed, crypto.SHA256)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("a signature changes the digest: %v", err)
	}
	tail, err := Authenticode(append(bytes.Clone(good), 1), crypto.SHA256)
	if err != nil || bytes.Equal(tail, want) {
		t.Error("bytes after the last section do not count")
	}
}

// TestPCR4: the chain, value by value, in both banks.
func TestPCR4(t *testing.T) {
	b, _ := sample(t, "252.1")
	i := parse(t, b)
	shim := build(t, part{".text", []byte("shim")})
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384} {
		full, err := i.PCR4(h, false, shim)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Join(texts(full), ",") != "Calling EFI Application from Boot Option,separator,program 1,image,kernel" {
			t.Error(texts(full))
		}
		k, _ := Authenticode(kernel(t), h)
		s, _ := Authenticode(shim, h)
		if !bytes.Equal(full[4].Digest, k) || !bytes.Equal(full[2].Digest, s) {
			t.Error("kernel or shim")
		}
		short, err := i.PCR4(h, true)
		if err != nil || len(short) != 3 || !bytes.Equal(short[2].Digest, full[3].Digest) {
			t.Errorf("%v, %v", texts(short), err)
		}
	}
	sep, _ := i.PCR4(crypto.SHA256, true)
	// Both are in any event log of a UEFI machine.
	if hex.EncodeToString(sep[0].Digest) != "3d6772b4f84ed47595d72a2c4c5ffd15f5bb72c7507fe26f2aaee2c69d5633ba" ||
		hex.EncodeToString(sep[1].Digest) != "df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119" {
		t.Errorf("%x %x", sep[0].Digest, sep[1].Digest)
	}
	if _, err := i.PCR4(crypto.SHA256, true, []byte("no PE")); err == nil {
		t.Error("a program that is no PE image was taken")
	}
	odd, err := Parse(build(t, sdmagic("252"), part{".linux", []byte("ELF")}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := odd.PCR4(crypto.SHA256, false); err == nil {
		t.Error("a kernel that is no PE image was taken")
	}
}

func FuzzParse(f *testing.F) {
	good, _ := sample(f, "252.1")
	f.Add(good)
	other, _ := sample(f, "257", part{".sbat", []byte("x")})
	f.Add(other)
	f.Add(kernel(f))
	f.Add(build(f, sdmagic("252"), part{".linux", []byte("x")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = Authenticode(b, crypto.SHA256)
		i, err := Parse(b)
		if err != nil {
			return
		}
		if len(i.PCR11(crypto.SHA256)) < 2 {
			t.Error("an image without a kernel")
		}
		_, _ = i.PCR4(crypto.SHA256, false)
	})
}
