package wrap

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

// TestRFC3394 holds the six examples of RFC 3394 §4.
func TestRFC3394(t *testing.T) {
	const (
		kek  = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
		data = "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f"
	)
	for _, v := range []struct {
		kek, data int // bytes
		wrapped   string
	}{
		{16, 16, "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5"},
		{24, 16, "96778b25ae6ca435f92b5b97c050aed2468ab8a17ad84e5d"},
		{32, 16, "64e8c3f9ce0f5ba263e9777905818a2a93c8191e7d6e8ae7"},
		{24, 24, "031d33264e15d33268f24ec260743edce1c6c7ddee725a936ba814915c6762d2"},
		{32, 24, "a8f9bc1612c68b3ff6e6f4fbe30e71e4769c8b80a32cb8958cd5d17d6b254da1"},
		{32, 32, "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"},
	} {
		plain := data[:2*v.data]
		if v.data == 24 {
			plain = data[:32] + "0001020304050607"
		}
		got, err := WrapKW(unhex(t, kek[:2*v.kek]), unhex(t, plain))
		if err != nil || hex.EncodeToString(got) != v.wrapped {
			t.Errorf("%d bytes under %d: %x, %v", v.data, v.kek, got, err)
		}
		back, err := UnwrapKW(unhex(t, kek[:2*v.kek]), unhex(t, v.wrapped))
		if err != nil || hex.EncodeToString(back) != plain {
			t.Errorf("%d bytes under %d come back as %x, %v", v.data, v.kek, back, err)
		}
	}
}

func TestKWRefuses(t *testing.T) {
	kek := make([]byte, 32)
	for _, n := range []int{0, 1, 7, 8, 15, 17, 23, MaxMaterial + 8} {
		if _, err := WrapKW(kek, make([]byte, n)); err == nil {
			t.Errorf("%d bytes wrapped", n)
		}
		if _, err := UnwrapKW(kek, make([]byte, n+8)); !errors.Is(err, errKWP) {
			t.Errorf("%d bytes unwrapped: %v", n+8, err)
		}
	}
	w, err := WrapKW(kek, make([]byte, 24))
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(w) * 8 {
		w[bit/8] ^= 1 << (bit % 8)
		if p, err := UnwrapKW(kek, w); !errors.Is(err, errKWP) || p != nil {
			t.Fatalf("bit %d flipped: %x, %v", bit, p, err)
		}
		w[bit/8] ^= 1 << (bit % 8)
	}
	if _, err := UnwrapKWP(kek, w); !errors.Is(err, errKWP) {
		t.Errorf("KW read as KWP: %v", err)
	}
	p, err := WrapKWP(kek, make([]byte, 24))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := UnwrapKW(kek, p); !errors.Is(err, errKWP) {
		t.Errorf("KWP read as KW: %v", err)
	}
	if _, err := WrapKW(make([]byte, 15), make([]byte, 16)); err == nil {
		t.Error("a key of 15 bytes")
	}
	if _, err := UnwrapKW(make([]byte, 15), make([]byte, 24)); err == nil {
		t.Error("a key of 15 bytes")
	}
}

func FuzzUnwrapKW(f *testing.F) {
	kek := bytes.Repeat([]byte{7}, 32)
	w, err := WrapKW(kek, make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(w)
	f.Add(w[:24])
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := UnwrapKW(kek, b)
		if err != nil {
			return
		}
		again, err := WrapKW(kek, p)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x unwraps to %x, which wraps to %x, %v", b, p, again, err)
		}
	})
}
