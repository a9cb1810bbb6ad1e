// Package canary looks for key material where it must not be: in the memory of a
// process, in its arguments and environment, in files. Tests use it, as root, on a
// process that had a key and says that it has cleared it.
//
// It looks for every 8 bytes of the key at a multiple of 8, as they are, turned round (as
// arithmetic holds numbers), in hex and in base64: half a key is a leak too, and registers
// that were spilled hold 8 bytes.
package canary

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// word is how many bytes of a key are looked for: few enough to find a register, many
// enough that chance does not write them.
const word = 8

// Keys are what is looked for.
type Keys struct {
	begins [1 << 16]bool          // whether the first two bytes of a form are these
	forms  map[[word]byte][]*form // by their first bytes
}

// form is one spelling of a part of a key.
type form struct {
	name string // what a finding says of it
	text []byte
}

// New prepares the search for keys of at least 16 random bytes each.
func New(keys ...[]byte) (*Keys, error) {
	k := &Keys{forms: map[[word]byte][]*form{}}
	for i, key := range keys {
		if len(key) < 2*word {
			return nil, fmt.Errorf("canary of %d bytes: want 16 or more", len(key))
		}
		k.key(fmt.Sprintf("key %d", i), key)
	}
	return k, nil
}

func (k *Keys) key(of string, key []byte) {
	for at := 0; at+word <= len(key); at += word {
		k.word(fmt.Sprintf("%s, bytes %d to %d", of, at, at+word), key[at:at+word])
	}
	for at := range 3 { // base64 has three ways to stand over the bytes
		n := (len(key) - at) / 3 * 3
		text := base64.StdEncoding.EncodeToString(key[at : at+n])
		for i := 0; i+16 <= len(text); i += 16 {
			name := fmt.Sprintf("%s in base64 from byte %d, digits %d to %d", of, at, i, i+16)
			k.form(name, []byte(text[i:i+16]))
			k.form(name+", URL", []byte(strings.NewReplacer("+", "-", "/", "_").Replace(text[i:i+16])))
		}
	}
}

func (k *Keys) word(name string, b []byte) {
	k.form(name, b)
	turned := bytes.Clone(b)
	slices.Reverse(turned)
	k.form(name+" reversed", turned)
	text := hex.EncodeToString(b)
	k.form(name+" in hex", []byte(text))
	k.form(name+" in HEX", []byte(strings.ToUpper(text)))
}

func (k *Keys) form(name string, text []byte) {
	first := [word]byte(text)
	k.begins[binary.LittleEndian.Uint16(text)] = true
	k.forms[first] = append(k.forms[first], &form{name, text})
}

// In lists the forms of the key that b holds. It goes through b once: a private RSA key
// has a thousand of them.
func (k *Keys) In(b []byte) (found []string) {
	seen := map[*form]bool{}
	for at := 0; at+word <= len(b); at++ {
		if !k.begins[binary.LittleEndian.Uint16(b[at:])] {
			continue
		}
		for _, f := range k.forms[[word]byte(b[at:])] {
			if bytes.HasPrefix(b[at:], f.text) && !seen[f] {
				seen[f] = true
				found = append(found, f.name)
			}
		}
	}
	return found
}

// Left scans a process until nothing is found, for a second at most: the time that a
// program has to clear what it has handed over.
func (k *Keys) Left(pid int) (found []string, err error) {
	for end := time.Now().Add(time.Second); ; {
		last := time.Now().After(end)
		if found, err = k.Process(pid); err != nil || found == nil || last {
			return found, err
		}
	}
}

// Process scans all that the kernel shows of a process: each readable part of its
// memory, its arguments, its environment. It says where the key was found.
func (k *Keys) Process(pid int) (found []string, err error) { return k.process(pid, false) }

// Astray scans a process as [Keys.Process] does, but for the pages that are made for
// secrets: locked into memory and left out of dumps.
func (k *Keys) Astray(pid int) (found []string, err error) { return k.process(pid, true) }

func (k *Keys) process(pid int, astray bool) (found []string, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	for _, name := range []string{"cmdline", "environ"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		for _, form := range k.In(b) {
			found = append(found, name+": "+form)
		}
	}
	maps, err := os.ReadFile(filepath.Join(dir, "smaps"))
	if err != nil {
		return nil, err
	}
	mem, err := os.Open(filepath.Join(dir, "mem"))
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	scanned := 0
	for _, line := range regions(string(maps), astray) {
		from, size, readable, err := region(line)
		if err != nil {
			return nil, err
		}
		if !readable {
			continue
		}
		here, err := k.memory(mem, from, size)
		if err != nil {
			continue // the kernel's own pages, such as vvar
		}
		scanned++
		for _, form := range here {
			found = append(found, strings.TrimSpace(line)+": "+form)
		}
	}
	if scanned < 3 { // program, heap, stack
		return nil, fmt.Errorf("process %d: only %d parts of its memory could be read", pid, scanned)
	}
	return found, nil
}

// regions gives the first line of each region in /proc/PID/smaps, but for those of
// secrets when astray.
func regions(smaps string, astray bool) (heads []string) {
	head := ""
	for line := range strings.Lines(smaps) {
		flags, last := strings.CutPrefix(line, "VmFlags:")
		switch {
		case last:
			f := strings.Fields(flags)
			if !astray || !slices.Contains(f, "lo") || !slices.Contains(f, "dd") {
				heads = append(heads, head)
			}
		case !strings.Contains(strings.Fields(line)[0], ":"): // the others are "Name: value"
			head = line
		}
	}
	return heads
}

// region reads a line of /proc/PID/maps.
func region(line string) (from, size int64, readable bool, err error) {
	span, rest, _ := strings.Cut(line, " ")
	low, high, _ := strings.Cut(span, "-")
	from, err = strconv.ParseInt(low, 16, 64)
	if err != nil {
		if strings.Contains(line, "[vsyscall]") { // above what an int64 holds, and fixed
			return 0, 0, false, nil
		}
		return 0, 0, false, fmt.Errorf("maps: %q: %w", line, err)
	}
	to, err := strconv.ParseInt(high, 16, 64)
	return from, to - from, strings.HasPrefix(rest, "r"), err
}

// memory scans a part in pieces that overlap, so that nothing hides on a border.
func (k *Keys) memory(mem io.ReaderAt, from, size int64) (found []string, err error) {
	const piece, overlap = 1 << 20, 64
	buf := make([]byte, piece+overlap)
	for at := int64(0); at < size; at += piece {
		n, err := mem.ReadAt(buf[:min(size-at, piece+overlap)], from+at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		for _, form := range k.In(buf[:n]) {
			found = append(found, fmt.Sprintf("at %#x: %s", from+at, form))
		}
	}
	return found, nil
}

// Files scans every regular file below dir.
func (k *Keys) Files(dir string) (found []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, form := range k.In(b) {
			found = append(found, path+": "+form)
		}
		return nil
	})
	return found, err
}
