package wrap

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

// aiv is the alternative initial value of RFC 5649 §3; the length follows it.
const aiv = 0xA65959A6

// errKWP is one error for every failed check, so that none is an oracle.
var errKWP = errors.New("wrap: AES key wrap: integrity check failed")

// WrapKWP is AES key wrap with padding (RFC 5649 §4.1) of 1 to MaxMaterial bytes
// under an AES key of 16, 24 or 32 bytes.
func WrapKWP(kek, plaintext []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, fmt.Errorf("wrap: AES key wrap: %w", err)
	}
	if len(plaintext) == 0 || len(plaintext) > MaxMaterial {
		return nil, fmt.Errorf("wrap: AES key wrap of %d bytes", len(plaintext))
	}
	out := make([]byte, 8+(len(plaintext)+7)/8*8) // exact: a grown slice would leave a copy behind
	binary.BigEndian.PutUint32(out, aiv)
	binary.BigEndian.PutUint32(out[4:], uint32(len(plaintext)))
	copy(out[8:], plaintext)
	if len(out) == aes.BlockSize {
		block.Encrypt(out, out)
		return out, nil
	}
	shuffle(block, out, false)
	return out, nil
}

// UnwrapKWP undoes WrapKWP (RFC 5649 §4.2). Initial value, length and padding are
// judged together in constant time; the caller clears the result.
func UnwrapKWP(kek, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, fmt.Errorf("wrap: AES key wrap: %w", err)
	}
	if len(wrapped) < aes.BlockSize || len(wrapped)%8 != 0 || len(wrapped) > 8+MaxMaterial {
		return nil, errKWP
	}
	buf := append(make([]byte, 0, len(wrapped)), wrapped...)
	if len(buf) == aes.BlockSize {
		block.Decrypt(buf, buf)
	} else {
		shuffle(block, buf, true)
	}
	n, ok := openAIV(buf)
	if ok != 1 {
		clear(buf)
		return nil, errKWP
	}
	return buf[8 : 8+n : 8+n], nil
}

// openAIV checks the eight bytes in front and the zero padding behind the
// plaintext. Which of them is wrong does not show in its time.
func openAIV(buf []byte) (n, ok int) {
	padded := len(buf) - 8
	length := binary.BigEndian.Uint32(buf[4:])
	n = int(length & 0x7fffffff)
	ok = subtle.ConstantTimeEq(int32(binary.BigEndian.Uint32(buf)^aiv), 0)
	ok &= subtle.ConstantTimeEq(int32(length>>31), 0)
	ok &= subtle.ConstantTimeLessOrEq(n, padded)
	ok &= subtle.ConstantTimeLessOrEq(padded-7, n)
	var pad byte
	for i := padded - 7; i < padded; i++ { // padding is at most the last seven bytes
		behind := subtle.ConstantTimeLessOrEq(n, i)
		pad |= buf[8+i] & byte(-behind)
	}
	return n, ok & subtle.ConstantTimeByteEq(pad, 0)
}

// shuffle is W, or its inverse, of RFC 3394 §2.2: six passes of AES over the
// semiblocks, in place. buf has at least three.
func shuffle(block cipher.Block, buf []byte, inverse bool) {
	var b [aes.BlockSize]byte
	defer clear(b[:])
	n := len(buf)/8 - 1
	copy(b[:8], buf)
	for step := range 6 * n {
		t, crypt := step+1, block.Encrypt
		if inverse {
			t, crypt = 6*n-step, block.Decrypt
			mix(&b, t)
		}
		r := buf[8*((t-1)%n+1):][:8]
		copy(b[8:], r)
		crypt(b[:], b[:])
		copy(r, b[8:])
		if !inverse {
			mix(&b, t)
		}
	}
	copy(buf, b[:8])
}

func mix(b *[aes.BlockSize]byte, t int) {
	binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])^uint64(t))
}
