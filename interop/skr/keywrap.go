package skr

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

// The alternative initial value of RFC 5649 §3: four constant bytes, then the length
// of the plaintext in four.
const alternativeIV = 0xA65959A6

var (
	errWrapLength = errors.New("wrapped key: the length is not a multiple of 8 from 16 up")
	errWrapCheck  = errors.New("wrapped key: the integrity check of RFC 5649 §3 fails: wrong key or damaged")
)

// unwrapKWP undoes AES key wrap with padding, RFC 5649 §4.2. kek is 16, 24 or 32 bytes.
func unwrapKWP(kek, wrapped []byte) ([]byte, error) {
	if len(wrapped) < 16 || len(wrapped)%8 != 0 {
		return nil, errWrapLength
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(wrapped))
	if len(wrapped) == 16 {
		block.Decrypt(out, wrapped) // one semiblock of plaintext is one block, no W
	} else {
		copy(out, wrapped)
		unwrapBlocks(block, out)
	}
	head, padded := out[:8], out[8:]
	length := uint64(binary.BigEndian.Uint32(head[4:]))
	full := uint64(len(padded))
	if binary.BigEndian.Uint32(head) != alternativeIV || length > full || length+8 <= full {
		return nil, errWrapCheck
	}
	if zero := make([]byte, full-length); subtle.ConstantTimeCompare(padded[length:], zero) != 1 {
		return nil, errWrapCheck
	}
	return padded[:length], nil
}

// unwrapBlocks is the W⁻¹ of RFC 3394 §2.2.2 in place: b is A, R[1], … R[n].
func unwrapBlocks(block cipher.Block, b []byte) {
	n := len(b)/8 - 1
	var in [16]byte
	for j := 5; j >= 0; j-- {
		for i := n; i >= 1; i-- {
			t := uint64(n)*uint64(j) + uint64(i)
			binary.BigEndian.PutUint64(in[:8], binary.BigEndian.Uint64(b[:8])^t)
			copy(in[8:], b[8*i:8*i+8])
			block.Decrypt(in[:], in[:])
			copy(b[:8], in[:8])
			copy(b[8*i:8*i+8], in[8:])
		}
	}
}
