package format_test

import (
	"bytes"
	"crypto/sha512"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/openskr/openskr/attest/azurecvm/format"
)

func snp() *format.HCL {
	return &format.HCL{Version: 1, Kind: format.HCLSNP, Hash: format.HCLSHA256, Report: bytes.Repeat([]byte{7}, 1184), Runtime: []byte(`{"keys":[]}`)}
}

func tdx() *format.HCL {
	r := append([]byte{0x81}, make([]byte, 1023)...)
	copy(r[256:495], bytes.Repeat([]byte{7}, 239))
	copy(r[512:], bytes.Repeat([]byte{8}, 512))
	tcb, info := sha512.Sum384(r[256:495]), sha512.Sum384(r[512:])
	copy(r[32:], tcb[:])
	copy(r[80:], info[:])
	return &format.HCL{Version: 2, Kind: format.HCLTDX, Hash: format.HCLSHA512, Report: r, Runtime: []byte(`{}`)}
}

// A TDREPORT has its type, zeros where it is reserved, and the hashes of its parts.
// CPUSVN, report data and MAC are not for this parser.
func TestTDReport(t *testing.T) {
	b := tdx().Encode()
	for i := range 1024 {
		b[32+i] ^= 2
		_, err := format.ParseHCL(b)
		b[32+i] ^= 2
		if open := i >= 16 && i < 32 || i >= 128 && i < 192 || i >= 224 && i < 256; (err == nil) != open {
			t.Errorf("byte %d of the TDREPORT changed: %v", i, err)
		}
	}
}

func TestHCL(t *testing.T) {
	for _, h := range []*format.HCL{snp(), tdx()} {
		for _, padding := range []int{0, 1, 700} {
			got, err := format.ParseHCL(append(h.Encode(), make([]byte, padding)...))
			if err != nil || !reflect.DeepEqual(got, h) {
				t.Errorf("padding %d: %+v, %v", padding, got, err)
			}
		}
	}
}

// Outside of report and runtime data, which others prove, no bit may be changed, and
// no byte left out.
func TestHCLHasOneForm(t *testing.T) {
	for _, h := range []*format.HCL{snp(), tdx()} {
		b := append(h.Encode(), make([]byte, 64)...)
		report, end := 32+len(h.Report), 1236+len(h.Runtime)
		for i := range b {
			if i >= 32 && i < report || i >= 1236 && i < end {
				continue
			}
			for bit := range 8 {
				b[i] ^= 1 << bit
				got, err := format.ParseHCL(b)
				b[i] ^= 1 << bit
				// Another known hash type is another reading, which the report data refutes.
				if err == nil && (i != 1228 || got.Hash == h.Hash) {
					t.Errorf("bit %d of byte %d may be changed", bit, i)
				}
			}
		}
		for n := range end {
			if _, err := format.ParseHCL(b[:n]); err == nil {
				t.Errorf("cut to %d bytes: accepted", n)
			}
		}
	}
}

// TestHCLRefused is KB-12.
func TestHCLRefused(t *testing.T) {
	put := func(at int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[at] = v; return b }
	}
	for name, change := range map[string]func([]byte) []byte{
		"too long":                 func(b []byte) []byte { return append(b, make([]byte, format.MaxHCL)...) },
		"runtime beyond the end":   func(b []byte) []byte { return b[:len(b)-1] },
		"length 2^32-1":            func(b []byte) []byte { return append(append(b[:1232:1232], 255, 255, 255, 255), b[1236:]...) },
		"version 3":                put(4, 3),
		"request type 1":           put(12, 1),
		"status":                   put(16, 1),
		"runtime version 2":        put(1220, 2),
		"report type 3 (TVM)":      put(1224, 3),
		"hash type 0":              put(1228, 0),
		"hash type 4":              put(1228, 4),
		"SNP report as a TDREPORT": put(1224, format.HCLTDX),
	} {
		if _, err := format.ParseHCL(change(snp().Encode())); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseHCL(f *testing.F) {
	f.Add(snp().Encode())
	f.Add(append(tdx().Encode(), 0, 0))
	if dir := os.Getenv("OPENSKR_VECTORS"); dir != "" {
		files, _ := filepath.Glob(filepath.Join(dir, "azure-*", "hcl-report*.bin"))
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := format.ParseHCL(b)
		if err != nil {
			return
		}
		out := h.Encode()
		if len(out) > len(b) || !bytes.Equal(out, b[:len(out)]) || len(bytes.Trim(b[len(out):], "\x00")) > 0 {
			t.Errorf("%x is read as %x", b, out)
		}
	})
}
