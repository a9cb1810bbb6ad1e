package file

import (
	"bufio"
	"crypto/cipher"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
)

// Encrypt copies src, encrypted, to dst. keyURL names the key, with its version,
// so that the file stays readable when the key gets a new one. key has [KeySize]
// bytes and is not kept.
func Encrypt(dst io.Writer, src io.Reader, keyURL string, key []byte) error {
	h := &header{Key: keyURL, Salt: newSalt()}
	if err := h.check(); err != nil {
		return err
	}
	raw, err := h.encode()
	if err != nil {
		return err
	}
	aead, proof, err := derive(key, h, raw)
	if err != nil {
		return err
	}
	if _, err := dst.Write(append(raw, proof...)); err != nil {
		return err
	}
	in := bufio.NewReaderSize(src, ChunkSize+1)
	plain, out := make([]byte, ChunkSize), make([]byte, 0, ChunkSize+tagSize)
	defer clear(plain)
	for n := uint64(0); ; n++ {
		size, final, err := readChunk(in, plain)
		if err != nil {
			return err
		}
		if _, err := dst.Write(aead.Seal(out, nonce(n, final), plain[:size], nil)); err != nil {
			return err
		}
		if final {
			return nil
		}
	}
}

// readChunk fills b and says whether the stream ends behind it.
func readChunk(r *bufio.Reader, b []byte) (n int, final bool, err error) {
	n, err = io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return n, true, nil
	}
	if err != nil {
		return n, false, err
	}
	_, err = r.Peek(1)
	if errors.Is(err, io.EOF) {
		return n, true, nil
	}
	return n, false, err
}

// Reader is an encrypted file whose header has been read. The header is
// authenticated only by decrypting.
type Reader struct {
	KeyURL string // the key that the file asks for

	in   io.Reader
	h    *header
	raw  []byte
	aead cipher.AEAD // once there was a key
}

// Open reads the header.
func Open(r io.Reader) (*Reader, error) {
	h, raw, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	return &Reader{KeyURL: h.Key, in: r, h: h, raw: raw}, nil
}

// Unlock says whether the file was made with key, of which it keeps no more than a
// cipher for this file. Errors: [ErrKey], [ErrTampered], or that of reading.
func (f *Reader) Unlock(key []byte) error {
	aead, want, err := derive(key, f.h, f.raw)
	if err != nil {
		return err
	}
	proof := make([]byte, proofSize)
	if _, err := io.ReadFull(f.in, proof); err != nil {
		return fmt.Errorf("%w: cut off after the header", ErrTampered)
	}
	if subtle.ConstantTimeCompare(proof, want) != 1 {
		return ErrKey
	}
	f.aead = aead
	return nil
}

// Decrypt writes the plain text to dst, chunk by chunk as they authenticate, once
// [Reader.Unlock] gave nil. On any error what was written must be thrown away:
// [ErrKey], [ErrTampered], or that of reading or writing.
func (f *Reader) Decrypt(dst io.Writer) error {
	if f.aead == nil {
		return fmt.Errorf("%w: the file was not unlocked", ErrKey)
	}
	return decryptChunks(dst, bufio.NewReaderSize(f.in, ChunkSize+tagSize+1), f.aead)
}

func decryptChunks(dst io.Writer, in *bufio.Reader, aead cipher.AEAD) error {
	sealed, out := make([]byte, ChunkSize+tagSize), make([]byte, 0, ChunkSize)
	defer clear(out[:cap(out)])
	for n := uint64(0); ; n++ {
		size, final, err := readChunk(in, sealed)
		if err != nil {
			return err
		}
		if size < tagSize || n > 0 && size == tagSize {
			return fmt.Errorf("%w: chunk %d is cut off", ErrTampered, n)
		}
		plain, err := aead.Open(out, nonce(n, final), sealed[:size], nil)
		if err != nil {
			return fmt.Errorf("%w: chunk %d", ErrTampered, n)
		}
		if _, err := dst.Write(plain); err != nil {
			return err
		}
		if final {
			return nil
		}
	}
}
