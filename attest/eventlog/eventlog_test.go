package eventlog

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// rawLog makes logs whose fields may lie.
type rawLog struct{ b []byte }

func le(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch v := p.(type) {
		case int:
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		case uint16:
			b = binary.LittleEndian.AppendUint16(b, v)
		case string:
			b = append(b, v...)
		case []byte:
			b = append(b, v...)
		}
	}
	return b
}

// first is the Spec ID event with the given tail after the fixed fields.
func first(pcr, typ int, digest []byte, tail ...any) rawLog {
	data := le(append([]any{"Spec ID Event03\x00", make([]byte, 8)}, tail...)...)
	return rawLog{le(pcr, typ, digest, len(data), data)}
}

func (l rawLog) with(parts ...any) []byte { return append(bytes.Clone(l.b), le(parts...)...) }

func TestParseRefuses(t *testing.T) {
	zero, d := make([]byte, 20), make([]byte, 32)
	sha1, sha256 := uint16(4), uint16(algSHA256)
	one := first(0, 3, zero, 1, sha256, uint16(32), "\x00")
	two := first(0, 3, zero, 2, sha1, uint16(20), sha256, uint16(32), "\x00")
	sound := one.with(7, 4, 1, sha256, d, 4, "\x00\x00\x00\x00")
	for name, b := range map[string][]byte{
		"one bank":               sound,
		"two banks":              two.with(7, 4, 2, sha256, d, sha1, zero, 0),
		"event without a PCR":    one.with(-1, 3, 1, sha256, d, 0),
		"only the Spec ID event": one.b,
	} {
		if _, err := Parse(b, algSHA256); err != nil {
			t.Errorf("%s: the cases below fail for another reason: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"empty":                       {},
		"Spec ID in PCR 1":            first(1, 3, zero, 1, sha256, uint16(32), "\x00").b,
		"Spec ID as a separator":      first(0, 4, zero, 1, sha256, uint16(32), "\x00").b,
		"Spec ID with a digest":       first(0, 3, bytes.Repeat([]byte{1}, 20), 1, sha256, uint16(32), "\x00").b,
		"no bank":                     first(0, 3, zero, 0, "\x00").b,
		"2^32-1 banks":                first(0, 3, zero, -1, sha256, uint16(32), "\x00").b,
		"nine banks":                  first(0, 3, zero, 9, bytes.Repeat(le(uint16(99), uint16(1)), 9), "\x00").b,
		"bank twice":                  first(0, 3, zero, 2, sha256, uint16(32), sha256, uint16(32), "\x00").b,
		"SHA-256 of 20 bytes":         first(0, 3, zero, 1, sha256, uint16(20), "\x00").b,
		"SHA-256 of 65535 bytes":      first(0, 3, zero, 1, sha256, uint16(65535), "\x00").b,
		"vendor info too long":        first(0, 3, zero, 1, sha256, uint16(32), "\xff").b,
		"bytes after the vendor info": first(0, 3, zero, 1, sha256, uint16(32), "\x00\x00").b,
		"no digest of the bank":       first(0, 3, zero, 1, sha1, uint16(20), "\x00").b,
		"no digests in an event":      one.with(7, 4, 0, 0),
		"one digest too few":          two.with(7, 4, 1, sha256, d, 0),
		"one digest too many":         one.with(7, 4, 2, sha256, d, sha256, d, 0),
		"2^32-1 digests":              one.with(7, 4, -1, sha256, d, 0),
		"digest twice":                two.with(7, 4, 2, sha256, d, sha256, d, 0),
		"digest not announced":        one.with(7, 4, 1, sha1, zero, 0),
		"event of 2^32-1 bytes":       one.with(7, 4, 1, sha256, d, -1),
		"event data cut":              one.with(7, 4, 1, sha256, d, 4, "\x00"),
		"event cut":                   one.with(7, 4),
		"PCR 24":                      one.with(24, 4, 1, sha256, d, 0),
		"PCR 2^32-1":                  one.with(-1, 4, 1, sha256, d, 0),
		"trailing byte":               append(bytes.Clone(sound), 0),
		"too many events":             one.with(bytes.Repeat(le(7, 4, 1, sha256, d, 0), MaxEvents+1)),
		"too large":                   make([]byte, MaxSize+1),
	} {
		if events, err := Parse(b, algSHA256); err == nil {
			t.Errorf("%s: accepted %d events", name, len(events))
		}
	}
}
