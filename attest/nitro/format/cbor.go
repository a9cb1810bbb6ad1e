package format

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Major types of CBOR (RFC 8949 §3.1).
const (
	majorUint  = 0
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
)

const (
	indefinite = 31   // additional information of a head without a length
	breakCode  = 0xff // ends what has no length
	nullCode   = 0xf6
)

// Reader takes apart the CBOR that an NSM writes: unsigned integers, byte and text
// strings, arrays, maps and null, each read as the type that stands in the
// specification, so that nothing nests deeper than the caller asks and nothing is
// allocated that the input does not pay for.
//
// Arrays and maps may have no length: an NSM streams its payload that way. Strings
// must have one, and every number must be written in its shortest form, so that a
// value has one spelling. A map with a key twice is refused.
//
// The first error makes the reader bad; from then on every read gives zero, and
// [Reader.Done] tells the error.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads b, whose length the caller has bounded.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Done is nil when every byte was read and none was wrong.
func (r *Reader) Done() error {
	if r.err == nil && len(r.b) > 0 {
		r.Fail("%d bytes behind the end", len(r.b))
	}
	return r.err
}

// Fail makes the reader bad, if it is not.
func (r *Reader) Fail(text string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("CBOR: "+text, args...)
	}
	r.b = nil
}

var errEnd = errors.New("CBOR: unexpected end")

func (r *Reader) take(n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(len(r.b)) {
		r.err, r.b = errEnd, nil
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// head reads the initial byte of an item and its argument.
func (r *Reader) head(want byte) (n uint64, open bool) {
	first := r.take(1)
	if first == nil {
		return 0, false
	}
	major, info := first[0]>>5, first[0]&31
	if major != want {
		r.Fail("item of major type %d, want %d", major, want)
		return 0, false
	}
	switch {
	case info < 24:
		return uint64(info), false
	case info <= 27:
		return r.argument(1 << (info - 24)), false
	case info == indefinite && (major == majorArray || major == majorMap):
		return 0, true
	}
	r.Fail("additional information %d of major type %d", info, major)
	return 0, false
}

// argument reads a number of 1, 2, 4 or 8 bytes that needs them.
func (r *Reader) argument(size int) uint64 {
	var n uint64
	for _, b := range r.take(uint64(size)) {
		n = n<<8 | uint64(b)
	}
	if least := uint64(24); r.err == nil && (size == 1 && n < least || size > 1 && n>>(4*size) == 0) {
		r.Fail("number %d in %d bytes, not in its shortest form", n, size)
	}
	return n
}

// Uint reads an unsigned integer.
func (r *Reader) Uint() uint64 {
	n, _ := r.head(majorUint)
	return n
}

// Bytes reads a byte string of at most limit bytes. It points into the input.
func (r *Reader) Bytes(limit int) []byte { return r.sized(majorBytes, limit) }

// Text reads a text string of at most limit bytes, which are UTF-8.
func (r *Reader) Text(limit int) string {
	s := r.sized(majorText, limit)
	if !utf8.Valid(s) {
		r.Fail("text is not UTF-8")
		return ""
	}
	return string(s)
}

func (r *Reader) sized(major byte, limit int) []byte {
	n, _ := r.head(major)
	if n > uint64(limit) {
		r.Fail("string of %d bytes, limit %d", n, limit)
	}
	return r.take(n)
}

// Null reads null, if that is what follows.
func (r *Reader) Null() bool { return r.next(nullCode) }

// Tag reads the head of a tagged item, if that tag, below 24, is what follows.
func (r *Reader) Tag(tag byte) bool { return r.next(majorTag<<5 | tag) }

func (r *Reader) next(code byte) bool { return r.Literal([]byte{code}) }

// Literal reads these very bytes, if they are what follows.
func (r *Reader) Literal(b []byte) bool {
	rest, ok := bytes.CutPrefix(r.b, b)
	r.b = rest
	return ok
}

// Array calls item for each of at most limit items; it must read one.
func (r *Reader) Array(limit int, item func()) { r.each(majorArray, limit, item) }

// TextMap calls member with every key of a map with at most limit members; it must
// read the value.
func (r *Reader) TextMap(limit, keyLimit int, member func(key string)) {
	seen := map[string]bool{}
	r.each(majorMap, limit, func() {
		key := r.Text(keyLimit)
		if seen[key] {
			r.Fail("member %q twice", key)
		}
		if seen[key] = true; r.err == nil {
			member(key)
		}
	})
}

// UintMap is [Reader.TextMap] with numbers for keys.
func (r *Reader) UintMap(limit int, member func(key uint64)) {
	seen := map[uint64]bool{}
	r.each(majorMap, limit, func() {
		key := r.Uint()
		if seen[key] {
			r.Fail("member %d twice", key)
		}
		if seen[key] = true; r.err == nil {
			member(key)
		}
	})
}

func (r *Reader) each(major byte, limit int, item func()) {
	n, open := r.head(major)
	if n > uint64(limit) {
		r.Fail("%d items, limit %d", n, limit)
	}
	for i := 0; r.err == nil && (open || uint64(i) < n); i++ {
		if open && r.next(breakCode) {
			return
		}
		if i == limit {
			r.Fail("more than %d items", limit)
			return
		}
		item()
	}
}

// AppendArray starts an array of n items.
func AppendArray(b []byte, n int) []byte { return appendHead(b, majorArray, uint64(n)) }

// AppendMap starts a map of n members.
func AppendMap(b []byte, n int) []byte { return appendHead(b, majorMap, uint64(n)) }

// AppendUint appends an unsigned integer.
func AppendUint(b []byte, n uint64) []byte { return appendHead(b, majorUint, n) }

// AppendText appends a text string.
func AppendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

// AppendBytes appends a byte string, or null for nil.
func AppendBytes(b, s []byte) []byte {
	if s == nil {
		return append(b, nullCode)
	}
	return append(appendHead(b, majorBytes, uint64(len(s))), s...)
}

func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major<<5|byte(n))
	case n < 1<<8:
		return append(b, major<<5|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major<<5|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major<<5|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major<<5|27), n)
}
