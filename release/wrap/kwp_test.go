package wrap

import (
	"bytes"
	"crypto/aes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRFC5649 holds the two examples of RFC 5649 §6.
func TestRFC5649(t *testing.T) {
	const kek = "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8"
	for _, v := range []struct{ plain, wrapped string }{
		{"c37b7e6492584340bed12207808941155068f738", "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a"},
		{"466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"},
	} {
		got, err := WrapKWP(unhex(t, kek), unhex(t, v.plain))
		if err != nil || hex.EncodeToString(got) != v.wrapped {
			t.Errorf("wrap %s: %x, %v", v.plain, got, err)
		}
		back, err := UnwrapKWP(unhex(t, kek), unhex(t, v.wrapped))
		if err != nil || hex.EncodeToString(back) != v.plain {
			t.Errorf("unwrap %s: %x, %v", v.wrapped, back, err)
		}
	}
}

func TestKWPEveryLength(t *testing.T) {
	kek := make([]byte, 32)
	for n := 1; n <= 130; n++ {
		plain := make([]byte, n)
		_, _ = rand.Read(plain)
		w, err := WrapKWP(kek, plain)
		if err != nil || len(w) != 8+(n+7)/8*8 {
			t.Fatalf("%d bytes: %d wrapped, %v", n, len(w), err)
		}
		back, err := UnwrapKWP(kek, w)
		if err != nil || !bytes.Equal(back, plain) {
			t.Fatalf("%d bytes do not come back: %v", n, err)
		}
		for bit := range len(w) * 8 { // any single bit
			if n > 17 && bit%13 != 0 {
				continue
			}
			w[bit/8] ^= 1 << (bit % 8)
			if _, err := UnwrapKWP(kek, w); !errors.Is(err, errKWP) {
				t.Fatalf("%d bytes, bit %d flipped: %v", n, bit, err)
			}
			w[bit/8] ^= 1 << (bit % 8)
		}
	}
	for _, n := range []int{0, MaxMaterial + 1} {
		if _, err := WrapKWP(kek, make([]byte, n)); err == nil {
			t.Errorf("%d bytes wrapped", n)
		}
	}
	for _, size := range []int{0, 15, 31, 33, 64} {
		if _, err := WrapKWP(make([]byte, size), []byte{1}); err == nil {
			t.Errorf("wrapped under a key of %d bytes", size)
		}
		if _, err := UnwrapKWP(make([]byte, size), make([]byte, 24)); err == nil {
			t.Errorf("unwrapped under a key of %d bytes", size)
		}
	}
}

// forge wraps a head and body of the test's choice.
func forge(t *testing.T, kek []byte, iv, length uint32, body []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(kek)
	if err != nil {
		t.Fatal(err)
	}
	buf := binary.BigEndian.AppendUint32(nil, iv)
	buf = append(binary.BigEndian.AppendUint32(buf, length), body...)
	if len(buf) == aes.BlockSize {
		block.Encrypt(buf, buf)
	} else {
		shuffle(block, buf, false)
	}
	return buf
}

// TestKWPNegative is what Wycheproof tries: rightly wrapped, wrongly made.
func TestKWPNegative(t *testing.T) {
	kek := bytes.Repeat([]byte{7}, 32)
	for _, blocks := range []int{1, 2, 3, 4} {
		body := make([]byte, 8*blocks) // all zero: any padding is clean
		full := uint32(len(body))
		for length := range full + 10 {
			_, err := UnwrapKWP(kek, forge(t, kek, aiv, length, body))
			if want := length > full-8 && length <= full; (err == nil) != want {
				t.Errorf("%d blocks, length %d: %v", blocks, length, err)
			}
		}
		for _, length := range []uint32{full | 1<<31, full | 1<<24, 0xffffffff, 0x7fffffff, 0x80000000} {
			if _, err := UnwrapKWP(kek, forge(t, kek, aiv, length, body)); err == nil {
				t.Errorf("%d blocks, length %#x accepted", blocks, length)
			}
		}
		for _, iv := range []uint32{0, 0xA6A6A6A6, aiv ^ 1, aiv ^ 1<<31, 0xA65959A7} {
			if _, err := UnwrapKWP(kek, forge(t, kek, iv, full, body)); err == nil {
				t.Errorf("%d blocks, initial value %#x accepted", blocks, iv)
			}
		}
		for pad := 1; pad <= 7; pad++ {
			for at := range pad {
				dirty := bytes.Clone(body)
				dirty[len(dirty)-1-at] = 0x80
				if _, err := UnwrapKWP(kek, forge(t, kek, aiv, full-uint32(pad), dirty)); err == nil {
					t.Errorf("%d blocks, padding byte %d of %d not zero, accepted", blocks, at, pad)
				}
			}
			dirty := bytes.Clone(body)
			dirty[len(dirty)-1-pad] = 0x80 // the last byte of the plaintext may be anything
			if _, err := UnwrapKWP(kek, forge(t, kek, aiv, full-uint32(pad), dirty)); err != nil {
				t.Errorf("%d blocks, %d bytes of padding: %v", blocks, pad, err)
			}
		}
	}
	good, _ := WrapKWP(kek, make([]byte, 32))
	for n := range 64 {
		if n != len(good) {
			if _, err := UnwrapKWP(kek, append(good, make([]byte, 24)...)[:n]); !errors.Is(err, errKWP) {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	}
	for _, n := range []int{MaxMaterial, MaxMaterial + 8} {
		_, err := UnwrapKWP(kek, forge(t, kek, aiv, uint32(n), make([]byte, n)))
		if (err == nil) != (n == MaxMaterial) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func FuzzUnwrapKWP(f *testing.F) {
	kek := make([]byte, 32)
	w, _ := WrapKWP(kek, []byte("seed"))
	f.Add(kek, w)
	f.Add(kek, make([]byte, 24))
	f.Fuzz(func(t *testing.T, kek, wrapped []byte) {
		plain, err := UnwrapKWP(kek, wrapped)
		if err != nil {
			return
		}
		again, err := WrapKWP(kek, plain)
		if err != nil || !bytes.Equal(again, wrapped) {
			t.Fatalf("accepted %x, which is not what wrapping gives", wrapped)
		}
	})
}
