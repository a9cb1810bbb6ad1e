package format

import (
	"bytes"
	"strings"
	"testing"
)

// TestReaderRefuses is EV-24 of CBOR.
func TestReaderRefuses(t *testing.T) {
	text := func(r *Reader) { r.TextMap(4, 4, func(string) { r.Uint() }) }
	uints := func(r *Reader) { r.UintMap(4, func(uint64) { r.Uint() }) }
	array := func(r *Reader) { r.Array(4, func() { r.Uint() }) }
	bytes4 := func(r *Reader) { r.Bytes(4) }
	text4 := func(r *Reader) { r.Text(4) }
	number := func(r *Reader) { r.Uint() }
	for name, c := range map[string]struct {
		in   string
		read func(*Reader)
	}{
		"nothing":                      {"", number},
		"number of another type":       {"\x20", number},
		"reserved information":         {"\x1c", number},
		"number cut":                   {"\x19\x01", number},
		"23 in two bytes":              {"\x18\x17", number},
		"255 in three bytes":           {"\x19\x00\xff", number},
		"65535 in five bytes":          {"\x1a\x00\x00\xff\xff", number},
		"2^32-1 in nine bytes":         {"\x1b\x00\x00\x00\x00\xff\xff\xff\xff", number},
		"length not shortest":          {"\x58\x01a", bytes4},
		"something behind":             {"\x00\x00", number},
		"number without a length":      {"\x1f", number},
		"tag":                          {"\xc1\x00", number},
		"string of chunks":             {"\x5f\x41a\xff", bytes4},
		"text of chunks":               {"\x7f\x61a\xff", text4},
		"string too long":              {"\x45abcde", bytes4},
		"string cut":                   {"\x44abc", bytes4},
		"string of 2^64-1":             {"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", bytes4},
		"text is not UTF-8":            {"\x61\xff", text4},
		"key twice":                    {"\xa2\x61a\x01\x61a\x02", text},
		"key twice, no length":         {"\xbf\x61a\x01\x61a\x02\xff", text},
		"numeric key twice":            {"\xa2\x01\x01\x01\x02", uints},
		"numeric key in two spellings": {"\xa2\x01\x01\x18\x01\x02", uints},
		"key of another type":          {"\xa1\x41a\x01", text},
		"negative key":                 {"\xa1\x20\x01", uints},
		"map cut":                      {"\xa2\x61a\x01", text},
		"map without end":              {"\xbf\x61a\x01", text},
		"map ends before a value":      {"\xbf\x61a\xff", text},
		"end where a length was given": {"\xa1\xff", text},
		"too many members":             {"\xa5", text},
		"too many members, no length":  {"\xbf\x61a\x01\x61b\x01\x61c\x01\x61d\x01\x61e\x01\xff", text},
		"too many items, no length":    {"\x9f\x01\x01\x01\x01\x01\xff", array},
		"2^64-1 items":                 {"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", array},
		"array in an array":            {"\x81\x81\x01", array},
		"10 000 deep":                  {strings.Repeat("\x81", 10_000), array},
		"10 000 deep, no length":       {strings.Repeat("\x9f", 10_000), array},
	} {
		r := NewReader([]byte(c.in))
		c.read(r)
		if err := r.Done(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestReaderReads(t *testing.T) {
	for _, n := range []uint64{0, 23, 24, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, 1<<64 - 1} {
		r := NewReader(AppendUint(nil, n))
		if got := r.Uint(); got != n || r.Done() != nil {
			t.Errorf("%d read as %d: %v", n, got, r.Done())
		}
	}
	for _, in := range []string{"\xa2\x61a\x83\x01\x02\x03\x61b\xf6", "\xbf\x61a\x9f\x01\x02\x03\xff\x61b\xf6\xff"} {
		r, sum, null := NewReader([]byte(in)), uint64(0), false
		r.TextMap(2, 1, func(key string) {
			if key == "b" {
				null = r.Null()
				return
			}
			r.Array(3, func() { sum += r.Uint() })
		})
		if err := r.Done(); err != nil || sum != 6 || !null {
			t.Errorf("%x: sum %d, null %v, %v", in, sum, null, err)
		}
	}
}

func TestNSMMessages(t *testing.T) {
	q := Request{UserData: []byte("u"), PublicKey: []byte{}}
	got, err := DecodeRequest(q.Encode())
	if err != nil || string(got.UserData) != "u" || got.Nonce != nil || got.PublicKey == nil {
		t.Errorf("%+v, %v", got, err)
	}
	doc, err := DecodeResponse(EncodeResponse([]byte("doc")))
	if err != nil || string(doc) != "doc" {
		t.Errorf("%q, %v", doc, err)
	}
	if _, err := DecodeResponse(EncodeError("InvalidArgument")); err != NSMError("InvalidArgument") {
		t.Error(err)
	}
	for _, in := range []string{"", "\xa0", "\xa1\x61x\xa0", "\xa1\x6bAttestation\xa0", "\xa1\x6bAttestation\xa1\x68document\x40", "\xa1\x6bAttestation\xa1\x61x\x41a"} {
		if _, err := DecodeResponse([]byte(in)); err == nil {
			t.Errorf("response %x accepted", in)
		}
	}
}

// FuzzReader reads whatever comes, and reads again what it wrote.
func FuzzReader(f *testing.F) {
	f.Add([]byte("\x1b\x00\x00\x00\x01\x00\x00\x00\x00"))
	f.Add([]byte("\xbf\x61a\x01\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(b)
		if n := r.Uint(); r.Done() == nil && !bytes.Equal(AppendUint(nil, n), b) {
			t.Errorf("%x was read as %d", b, n)
		}
		r = NewReader(b)
		if s := r.Bytes(len(b)); r.Done() == nil && !bytes.Equal(AppendBytes(nil, s), b) {
			t.Errorf("%x was read as %x", b, s)
		}
		r = NewReader(b)
		members := 0
		r.TextMap(8, 8, func(string) { r.UintMap(8, func(uint64) { members++; r.Array(8, func() { r.Uint() }) }) })
		if r.Done() == nil && members > len(b) {
			t.Errorf("%d members of %d bytes", members, len(b))
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add(Request{UserData: []byte("u"), Nonce: []byte{}}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := DecodeRequest(b)
		if err != nil {
			return
		}
		again, err := DecodeRequest(q.Encode())
		if err != nil || !bytes.Equal(again.UserData, q.UserData) || !bytes.Equal(again.Nonce, q.Nonce) || !bytes.Equal(again.PublicKey, q.PublicKey) {
			t.Errorf("%+v has two readings", q)
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add(EncodeResponse([]byte("doc")))
	f.Add(EncodeError("InvalidArgument"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if doc, err := DecodeResponse(b); err == nil && len(doc) == 0 {
			t.Error("no document and no error")
		}
	})
}
