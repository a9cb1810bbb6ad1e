package tpm

import (
	"errors"
	"fmt"
	"unicode/utf16"

	"github.com/openskr/openskr/attest/eventlog"
)

// GUIDs as EFI stores them.
const (
	guidGlobal   = "\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c" // EFI_GLOBAL_VARIABLE
	guidSecurity = "\xcb\xb2\x19\xd7\x3a\x3d\x96\x45\xa3\xbc\xda\xd0\x0e\x67\x65\x6f" // EFI_IMAGE_SECURITY_DATABASE
	guidShim     = "\x50\xab\x5d\x60\x46\xe0\x00\x43\xab\xb6\x3d\xd8\x10\xdd\x8b\x23" // SHIM_LOCK
	guidX509     = "\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72" // EFI_CERT_X509
	guidSHA256   = "\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28" // EFI_CERT_SHA256
)

const (
	guidSize    = 16
	maxVarName  = 128 // UTF-16 units
	maxCmdline  = 16 << 10
	maxVersion  = 1 << 10 // bytes of a firmware's name for itself
	listHeader  = 28
	sha256Entry = guidSize + 32
)

// efiVariable is a UEFI_VARIABLE_DATA (PFP §10.4.2.7).
type efiVariable struct {
	guid string
	name string
	data []byte
}

// parseVariable reads exactly one UEFI_VARIABLE_DATA.
func parseVariable(b []byte) (efiVariable, error) {
	r := eventlog.Reader{B: b}
	v := efiVariable{guid: string(r.Take(guidSize))}
	nameLen, dataLen := r.U64(), r.U64()
	if nameLen > maxVarName {
		return v, errors.New("EFI variable: name too long")
	}
	name := r.Take(2 * nameLen)
	v.data = r.Take(dataLen)
	if r.Bad || len(r.B) > 0 {
		return v, errors.New("EFI variable: wrong length")
	}
	v.name = decodeUTF16(name)
	return v, nil
}

// signatures are the entries of an EFI signature database that have a meaning here.
type signatures struct {
	certs  [][]byte // DER
	hashes [][]byte // SHA-256 of images
	other  int
}

// parseSignatureLists reads a sequence of EFI_SIGNATURE_LIST (UEFI §32.4.1) to
// its last byte. The types read here have no vendor header by specification, so
// one that announces any is refused: a parser that overlooks the header takes
// its bytes for entries (GHSA-9r4w-jg96-92mv).
func parseSignatureLists(b []byte) (signatures, error) {
	var out signatures
	r := eventlog.Reader{B: b}
	for len(r.B) > 0 {
		typ := string(r.Take(guidSize))
		list, header, entry := uint64(r.U32()), uint64(r.U32()), uint64(r.U32())
		if r.Bad || list < listHeader+header || entry <= guidSize {
			return out, errors.New("EFI signature list: impossible sizes")
		}
		r.Take(header)
		body := r.Take(list - listHeader - header)
		if r.Bad || uint64(len(body))%entry != 0 {
			return out, errors.New("EFI signature list: entries do not fill it")
		}
		known := typ == guidX509 || typ == guidSHA256
		if known && header != 0 || typ == guidSHA256 && entry != sha256Entry {
			return out, fmt.Errorf("EFI signature list: header of %d bytes, entries of %d", header, entry)
		}
		for ; len(body) > 0; body = body[entry:] {
			data := body[guidSize:entry]
			switch typ {
			case guidX509:
				out.certs = append(out.certs, data)
			case guidSHA256:
				out.hashes = append(out.hashes, data)
			default:
				out.other++
			}
		}
	}
	return out, nil
}

// decodeUTF16 reads little-endian UTF-16; an odd last byte is left out.
func decodeUTF16(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = uint16(b[2*i]) | uint16(b[2*i+1])<<8
	}
	return string(utf16.Decode(u))
}

// terminatedUTF16 reads text whose only NUL is its last unit.
func terminatedUTF16(b []byte) (string, bool) {
	if len(b) < 2 || len(b)%2 != 0 || len(b) > 2*maxCmdline {
		return "", false
	}
	return terminated(decodeUTF16(b))
}

// terminated cuts the one NUL at the end and refuses control characters and
// text that was not valid: what a person reads must be what was measured.
func terminated(s string) (string, bool) {
	if s == "" || s[len(s)-1] != 0 {
		return "", false
	}
	s = s[:len(s)-1]
	for _, c := range s {
		if c < ' ' && c != '\t' && c != '\n' || c == 0x7f || c == '\uFFFD' {
			return "", false
		}
	}
	return s, true
}

// guidText is the usual spelling of a GUID.
func guidText(b []byte) string {
	return fmt.Sprintf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%x-%x", b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8:10], b[10:16])
}
