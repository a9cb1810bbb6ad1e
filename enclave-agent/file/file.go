// Package file is a container for one encrypted file: AES-256-GCM in chunks under
// a key derived from an oct-256 key of the vault, whose URL the header names. It
// is documented in docs/wire/file.md and depends on the standard library only.
//
// A reader gives out a chunk only after it has authenticated; that a file is whole
// is known only when [Reader.Decrypt] returns nil, so write to a place that is
// dropped on error.
package file

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
)

// Magic starts every container; its last byte is the version.
const Magic = "OPENSKR\x01"

// Sizes in bytes.
const (
	KeySize   = 32       // of the vault's oct key
	ChunkSize = 64 << 10 // of plain text; the last chunk may be shorter
	maxHeader = 4 << 10
	maxURL    = 2 << 10
	tagSize   = 16
	proofSize = 32
)

// Errors that callers tell apart.
var (
	// ErrFormat says that this is no container, or a broken one.
	ErrFormat = errors.New("not an encrypted file of this format")
	// ErrKey says that the key is not the one that the file was made with.
	ErrKey = errors.New("wrong key for this file")
	// ErrTampered says that a chunk was changed, moved or cut off.
	ErrTampered = errors.New("file is damaged or was tampered with")
)

// header is the JSON in front, in its one canonical form.
type header struct {
	Key  string `json:"key"`  // URL of the key, with version
	Salt string `json:"salt"` // 32 bytes, base64url
}

// encode gives magic, length and JSON.
func (h *header) encode() ([]byte, error) {
	var js bytes.Buffer
	e := json.NewEncoder(&js)
	e.SetEscapeHTML(false)
	if err := e.Encode(h); err != nil {
		return nil, err
	}
	b := bytes.TrimSuffix(js.Bytes(), []byte("\n"))
	if len(b) > maxHeader {
		return nil, fmt.Errorf("%w: header of %d bytes", ErrFormat, len(b))
	}
	out := binary.BigEndian.AppendUint16([]byte(Magic), uint16(len(b)))
	return append(out, b...), nil
}

// readHeader reads a header and refuses any but the canonical form.
func readHeader(r io.Reader) (h *header, raw []byte, err error) {
	start := make([]byte, len(Magic)+2)
	if _, err := io.ReadFull(r, start); err != nil || string(start[:len(Magic)]) != Magic {
		return nil, nil, fmt.Errorf("%w: no magic", ErrFormat)
	}
	n := binary.BigEndian.Uint16(start[len(Magic):])
	if n > maxHeader {
		return nil, nil, fmt.Errorf("%w: header of %d bytes", ErrFormat, n)
	}
	js := make([]byte, n)
	if _, err := io.ReadFull(r, js); err != nil {
		return nil, nil, fmt.Errorf("%w: header cut off", ErrFormat)
	}
	h = new(header)
	if err := json.Unmarshal(js, h); err != nil {
		return nil, nil, fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	raw, err = h.encode()
	if err != nil || !bytes.Equal(raw, append(start, js...)) {
		return nil, nil, fmt.Errorf("%w: header is not in canonical form", ErrFormat)
	}
	return h, raw, h.check()
}

func (h *header) check() error {
	u, err := url.Parse(h.Key)
	if err != nil || u.Scheme != "https" || u.Host == "" || len(h.Key) > maxURL {
		return fmt.Errorf("%w: header names no key", ErrFormat)
	}
	salt, err := base64.RawURLEncoding.Strict().DecodeString(h.Salt)
	if err != nil || len(salt) != sha256.Size {
		return fmt.Errorf("%w: salt", ErrFormat)
	}
	return nil
}

// derive gives the cipher of the chunks and a proof of the key that stands after
// the header: AES-GCM alone does not commit to its key.
func derive(key []byte, h *header, raw []byte) (aead cipher.AEAD, proof []byte, err error) {
	if len(key) != KeySize {
		return nil, nil, fmt.Errorf("%w: it has %d bytes, an oct-256 key has %d", ErrKey, len(key), KeySize)
	}
	salt, err := base64.RawURLEncoding.Strict().DecodeString(h.Salt)
	if err != nil {
		return nil, nil, ErrFormat
	}
	hash := sha256.Sum256(raw)
	prk, err := hkdf.Extract(sha256.New, key, salt)
	if err != nil {
		return nil, nil, err
	}
	defer clear(prk)
	fileKey, err := hkdf.Expand(sha256.New, prk, "openskr/file/v1/key"+string(hash[:]), KeySize)
	if err != nil {
		return nil, nil, err
	}
	defer clear(fileKey)
	if proof, err = hkdf.Expand(sha256.New, prk, "openskr/file/v1/proof"+string(hash[:]), proofSize); err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(fileKey)
	if err != nil {
		return nil, nil, err
	}
	aead, err = cipher.NewGCM(block)
	return aead, proof, err
}

// nonce is the chunk's number in 11 bytes and a last byte that is 1 for the final
// chunk: chunks cannot be reordered, dropped or added.
func nonce(n uint64, final bool) []byte {
	b := make([]byte, 12)
	binary.BigEndian.PutUint64(b[3:11], n)
	if final {
		b[11] = 1
	}
	return b
}

func newSalt() string {
	b := make([]byte, sha256.Size)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return base64.RawURLEncoding.EncodeToString(b)
}
