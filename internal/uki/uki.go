// Package uki computes what a machine measures that starts a unified kernel
// image (UKI): PCR 11 as systemd-stub extends it and PCR 4 as firmware does, from
// the file alone. docs/references.md says what each of them leaves out.
package uki

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Image is a UKI that was read.
type Image struct {
	// Stub is the version of systemd-stub in it, as in "252.39-1~deb12u2".
	Stub  string
	major int
	pe    *pe
}

// ErrNotUKI says that the file is no unified kernel image of systemd-stub.
var ErrNotUKI = errors.New("not a unified kernel image of systemd-stub")

// Parse reads a UKI of at most MaxSize bytes, which the result refers to. An image whose
// measurement depends on the machine (several profiles, device trees chosen by
// hardware), or on what is not known here, is refused.
func Parse(b []byte) (*Image, error) {
	p, err := parsePE(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotUKI, err)
	}
	i := &Image{pe: p}
	if err := i.stub(); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, s := range p.sections {
		switch {
		case s.name == ".dtbauto" || s.name == ".hwids" || s.name == ".efifw":
			return nil, fmt.Errorf("section %s: what is measured depends on the machine; take it from one (from-evidence)", s.name)
		case seen[s.name] && (s.name == ".profile" || slices.Contains(measured(i.major), s.name)):
			return nil, fmt.Errorf("several sections %s: what is measured depends on the profile that is chosen", s.name)
		case slices.Contains(measured(i.major), s.name) && s.virtual > s.raw:
			return nil, fmt.Errorf("section %s: %d bytes in memory, %d in the file", s.name, s.virtual, s.raw)
		}
		seen[s.name] = true
	}
	if !seen[".linux"] {
		return nil, fmt.Errorf("%w: no section .linux", ErrNotUKI)
	}
	return i, nil
}

const maxStub = 160 // bytes of a version

// stub reads the version, which decides what is measured.
func (i *Image) stub() error {
	const before, after = "#### LoaderInfo: systemd-stub ", " ####"
	magic, err := i.pe.content(".sdmagic")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotUKI, err)
	}
	text, begins := bytes.CutPrefix(bytes.TrimRight(magic, "\x00"), []byte(before))
	text, ends := bytes.CutSuffix(text, []byte(after))
	if !begins || !ends || len(text) > maxStub {
		return fmt.Errorf("%w: section .sdmagic does not name it", ErrNotUKI)
	}
	i.Stub = string(text)
	number := i.Stub[:len(i.Stub)-len(strings.TrimLeft(i.Stub, "0123456789"))]
	if i.major, err = strconv.Atoi(number); err != nil {
		return fmt.Errorf("%w: version %q", ErrNotUKI, i.Stub)
	}
	if measured(i.major) == nil {
		return fmt.Errorf("systemd-stub %q: what this version measures is not known here, only 252 and from 255 on; "+
			"take the values from a machine that runs it (from-evidence)", i.Stub)
	}
	return nil
}

// measured lists the sections that systemd-stub of that version extends into PCR
// 11, in its order, which is not that of the file. nil: not known.
func measured(major int) []string {
	switch {
	case major == 252:
		return []string{".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"}
	case major >= 255:
		return []string{".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey", ".profile"}
	}
	return nil
}

// content gives the bytes of a section without the padding of the file.
func (p *pe) content(name string) ([]byte, error) {
	for _, s := range p.sections {
		if s.name == name {
			return p.b[s.offset : s.offset+min(s.virtual, s.raw)], nil
		}
	}
	return nil, fmt.Errorf("no section %s", name)
}

// Event is one extension of a PCR.
type Event struct {
	Text   string
	Digest []byte
}

// Phases are the words that systemd extends into PCR 11 as the boot goes on, in
// their order: with systemd-pcrphase in the initrd, a program there sees the
// first of them in the PCR.
func Phases() []string { return []string{"enter-initrd", "leave-initrd", "sysinit", "ready"} }

// PCR11 lists what is extended into PCR 11 of a bank: each section's name and
// content, then the phases that were reached.
func (i *Image) PCR11(h crypto.Hash, phases ...string) []Event {
	var out []Event
	for _, name := range measured(i.major) {
		b, err := i.pe.content(name)
		if err != nil || len(b) == 0 { // absent
			continue
		}
		out = append(out, Event{name, digest(h, []byte(name+"\x00"))}, Event{"content of " + name, digest(h, b)})
	}
	for _, p := range phases {
		out = append(out, Event{"phase " + p, digest(h, []byte(p))})
	}
	return out
}

// PCR4 lists what is extended into PCR 4 of a bank when firmware starts the image
// from a boot entry: the attempt, the separator, and each image that is started:
// those of before (a shim, a boot manager), the UKI, and with direct not set the
// kernel in it, which a stub up to 257 has the firmware start.
func (i *Image) PCR4(h crypto.Hash, direct bool, before ...[]byte) ([]Event, error) {
	out := []Event{
		{"Calling EFI Application from Boot Option", digest(h, []byte("Calling EFI Application from Boot Option"))},
		{"separator", digest(h, make([]byte, 4))},
	}
	for n, b := range before {
		d, err := Authenticode(b, h)
		if err != nil {
			return nil, fmt.Errorf("program %d before the image: %w", n+1, err)
		}
		out = append(out, Event{fmt.Sprintf("program %d", n+1), d})
	}
	d, err := i.pe.authenticode(h)
	if err != nil {
		return nil, err
	}
	out = append(out, Event{"image", d})
	if direct {
		return out, nil
	}
	kernel, err := i.pe.content(".linux")
	if err != nil {
		return nil, err
	}
	if d, err = Authenticode(kernel, h); err != nil {
		return nil, fmt.Errorf("section .linux: %w", err)
	}
	return append(out, Event{"kernel", d}), nil
}

// Replay gives the value of a PCR that was zero, after events.
func Replay(h crypto.Hash, events []Event) []byte {
	v := make([]byte, h.Size())
	for _, e := range events {
		v = digest(h, v, e.Digest)
	}
	return v
}

func digest(h crypto.Hash, parts ...[]byte) []byte {
	sum := h.New()
	for _, p := range parts {
		sum.Write(p)
	}
	return sum.Sum(nil)
}

// CommandLine is the one in the image, "" when there is none: the kernel then gets what
// whoever starts the image says.
func (i *Image) CommandLine() string {
	b, err := i.pe.content(".cmdline")
	if err != nil {
		return ""
	}
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}
