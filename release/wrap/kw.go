package wrap

import (
	"bytes"
	"crypto/aes"
	"crypto/subtle"
	"fmt"
)

// kwIV is the initial value of RFC 3394 §2.2.3.1.
var kwIV = bytes.Repeat([]byte{0xA6}, 8)

// minKW is the shortest plaintext of RFC 3394: two semiblocks.
const minKW = 16

// FitsKW tells whether n bytes can be wrapped by WrapKW.
func FitsKW(n int) bool { return n >= minKW && n%8 == 0 && n <= MaxMaterial }

// WrapKW is AES key wrap without padding (RFC 3394 §2.2.1) of a multiple of 8
// bytes, from 16 to MaxMaterial, under an AES key of 16, 24 or 32 bytes.
func WrapKW(kek, plaintext []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, fmt.Errorf("wrap: AES key wrap: %w", err)
	}
	if !FitsKW(len(plaintext)) {
		return nil, fmt.Errorf("wrap: AES key wrap of %d bytes without padding", len(plaintext))
	}
	out := make([]byte, 8+len(plaintext))
	copy(out, kwIV)
	copy(out[8:], plaintext)
	shuffle(block, out, false)
	return out, nil
}

// UnwrapKW undoes WrapKW (RFC 3394 §2.2.2). The initial value is compared in
// constant time; the caller clears the result.
func UnwrapKW(kek, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, fmt.Errorf("wrap: AES key wrap: %w", err)
	}
	if !FitsKW(len(wrapped) - 8) {
		return nil, errKWP
	}
	buf := bytes.Clone(wrapped)
	shuffle(block, buf, true)
	if subtle.ConstantTimeCompare(buf[:8], kwIV) != 1 {
		clear(buf)
		return nil, errKWP
	}
	return buf[8:len(buf):len(buf)], nil
}
