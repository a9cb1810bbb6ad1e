package skr

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"
)

// wrapKWP is RFC 5649 §4.1: what a broker does, for answers made by tests.
func wrapKWP(t testing.TB, kek, plain []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(kek)
	if err != nil {
		t.Fatal(err)
	}
	b := binary.BigEndian.AppendUint32(nil, alternativeIV)
	b = binary.BigEndian.AppendUint32(b, uint32(len(plain)))
	b = append(b, plain...)
	b = append(b, make([]byte, (8-len(plain)%8)%8)...)
	return wrapBlocks(block.Encrypt, b)
}

// wrapBlocks is W of RFC 3394 §2.2.1, or one block when there is one.
func wrapBlocks(encrypt func(dst, src []byte), b []byte) []byte {
	if len(b) == 16 {
		encrypt(b, b)
		return b
	}
	n := len(b)/8 - 1
	for j := range 6 {
		for i := 1; i <= n; i++ {
			in := append(bytes.Clone(b[:8]), b[8*i:8*i+8]...)
			encrypt(in, in)
			binary.BigEndian.PutUint64(b, binary.BigEndian.Uint64(in)^uint64(n*j+i))
			copy(b[8*i:], in[8:])
		}
	}
	return b
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The examples of RFC 5649 §6.
func TestUnwrapRFC5649(t *testing.T) {
	kek := unhex(t, "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	for _, c := range []struct{ plain, wrapped string }{
		{"c37b7e6492584340bed12207808941155068f738", "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a"},
		{"466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"},
	} {
		got, err := unwrapKWP(kek, unhex(t, c.wrapped))
		if err != nil || hex.EncodeToString(got) != c.plain {
			t.Errorf("unwrapped %x, %v; expected %s", got, err, c.plain)
		}
		if w := wrapKWP(t, kek, unhex(t, c.plain)); hex.EncodeToString(w) != c.wrapped {
			t.Errorf("wrapped %x, expected %s", w, c.wrapped)
		}
	}
}

func TestUnwrapRefuses(t *testing.T) {
	kek := make([]byte, 32)
	block, err := aes.NewCipher(kek)
	if err != nil {
		t.Fatal(err)
	}
	raw := func(head string, padded string) []byte {
		return wrapBlocks(block.Encrypt, append(unhex(t, head), unhex(t, padded)...))
	}
	good := wrapKWP(t, kek, []byte("nineteen bytes long"))
	damaged := bytes.Clone(good)
	damaged[20] ^= 1
	for name, c := range map[string]struct {
		wrapped []byte
		want    error
	}{
		"nothing":                    {nil, errWrapLength},
		"one semiblock":              {good[:8], errWrapLength},
		"a byte short":               {good[:len(good)-1], errWrapLength},
		"damaged":                    {damaged, errWrapCheck},
		"RFC 3394 initial value":     {raw("a6a6a6a600000010", "00112233445566770011223344556677"), errWrapCheck},
		"longer than what there is":  {raw("a65959a600000011", "00112233445566770011223344556677"), errWrapCheck},
		"a whole semiblock of zeros": {raw("a65959a600000008", "00112233445566770000000000000000"), errWrapCheck},
		"length zero":                {raw("a65959a600000000", "0000000000000000"), errWrapCheck},
		"padding not zero":           {raw("a65959a600000009", "00112233445566770000000000000001"), errWrapCheck},
		"single block, not zero":     {raw("a65959a600000007", "0011223344556677"), errWrapCheck},
	} {
		if got, err := unwrapKWP(kek, c.wrapped); !errors.Is(err, c.want) {
			t.Errorf("%s: unwrapped %x, %v; expected %v", name, got, err, c.want)
		}
	}
	if _, err := unwrapKWP(make([]byte, 31), good); err == nil {
		t.Error("a key of 31 bytes was taken")
	}
}

func FuzzUnwrap(f *testing.F) {
	kek := make([]byte, 32)
	for _, n := range []int{1, 8, 9, 32, 1200} {
		f.Add(wrapKWP(f, kek, make([]byte, n)))
	}
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		plain, err := unwrapKWP(kek, wrapped)
		if err == nil && !bytes.Equal(wrapKWP(t, kek, plain), wrapped) {
			t.Errorf("%x unwraps to %x, which wraps otherwise", wrapped, plain)
		}
	})
}
