package cse

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"hash"
	"strings"

	"github.com/openskr/openskr/release/wrap"
)

// keySize is that of a content key; in front of it stands the version, so that the
// wrapped key is good for no other.
const (
	keySize     = 32
	versionSize = 8
)

// wrapping is an algorithm that wraps content keys (RFC 7518 §4.1).
type wrapping struct {
	name string
	hash func() hash.Hash // of RSA-OAEP
	aes  int              // size of an AES key in bytes
}

// wrappings, the first of each kind being what is written. RSA1_5 is none of them: it
// is a padding oracle. RSA-OAEP is with SHA-1 by definition; it does not rest on
// collisions.
func wrappings() []wrapping {
	return []wrapping{
		{name: "RSA-OAEP-256", hash: sha256.New},
		{name: "RSA-OAEP", hash: sha1.New},
		{name: "A256KW", aes: 32},
		{name: "A192KW", aes: 24},
		{name: "A128KW", aes: 16},
	}
}

func names() string {
	var s []string
	for _, w := range wrappings() {
		s = append(s, w.name)
	}
	return strings.Join(s, ", ")
}

func find(name string) (wrapping, bool) {
	for _, w := range wrappings() {
		if w.name == name {
			return w, true
		}
	}
	return wrapping{}, false
}

func known(name string) bool {
	_, ok := find(name)
	return ok
}

// ContentKey decrypts and encrypts one blob.
type ContentKey struct{ aead cipher.AEAD }

// Unwrap opens the content key. material is a released key: the bytes of a symmetric
// one, or PKCS #8 DER of an RSA one; it is not kept. The error of whatever does
// not open is [ErrKey], and says no more than that.
func (e *EncryptionData) Unwrap(material []byte) (*ContentKey, error) {
	w, ok := find(e.Algorithm)
	if !ok {
		return nil, fmt.Errorf("%w: algorithm %.32q", ErrFormat, e.Algorithm)
	}
	plain, err := w.open(material, e.wrapped)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	prefix := versionPrefix(e.Version)
	if len(plain) != versionSize+keySize || !bytes.Equal(plain[:versionSize], prefix) {
		return nil, ErrKey
	}
	return newContentKey(plain[versionSize:])
}

func newContentKey(key []byte) (*ContentKey, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &ContentKey{aead}, err
}

// versionPrefix is the version in ASCII, with zeros up to a multiple of AES key wrap's.
func versionPrefix(version string) []byte {
	return append([]byte(version), make([]byte, versionSize-len(version))...)
}

func (w wrapping) open(material, wrapped []byte) ([]byte, error) {
	if w.aes > 0 {
		if len(material) != w.aes {
			return nil, fmt.Errorf("%w: %s takes a symmetric key of %d bits", ErrKey, w.name, w.aes*8)
		}
		plain, err := wrap.UnwrapKW(material, wrapped)
		if err != nil {
			return nil, ErrKey
		}
		return plain, nil
	}
	k, err := x509.ParsePKCS8PrivateKey(material)
	private, ok := k.(*rsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%w: %s takes an RSA key", ErrKey, w.name)
	}
	plain, err := rsa.DecryptOAEP(w.hash(), nil, private, wrapped, nil)
	if err != nil {
		return nil, ErrKey
	}
	return plain, nil
}

// Wrapper wraps a content key with a key of a vault.
type Wrapper struct {
	algorithm string
	wrap      func(plain []byte) ([]byte, error)
}

// NewRSAWrapper wraps with RSA-OAEP-256. Whoever has the public key can do so: a blob
// made with it says nothing about who made it.
func NewRSAWrapper(public *rsa.PublicKey) (*Wrapper, error) {
	if public.Size() < 256 {
		return nil, fmt.Errorf("RSA key of %d bits: at least 2048 are needed", public.Size()*8)
	}
	w := wrappings()[0]
	return &Wrapper{w.name, func(plain []byte) ([]byte, error) {
		return rsa.EncryptOAEP(w.hash(), rand.Reader, public, plain, nil)
	}}, nil
}

// NewAESWrapper wraps with AES key wrap (RFC 3394) under a key of 16, 24 or 32 bytes,
// which is used until the Wrapper is.
func NewAESWrapper(key []byte) (*Wrapper, error) {
	for _, w := range wrappings() {
		if w.aes == len(key) {
			return &Wrapper{w.name, func(plain []byte) ([]byte, error) { return wrap.WrapKW(key, plain) }}, nil
		}
	}
	return nil, fmt.Errorf("symmetric key of %d bytes: want 16, 24 or 32", len(key))
}

// New makes the content key of a new blob, version 2.0, and wraps it. keyID is stored
// as it is: give the URL of a key with its version.
func New(keyID string, w *Wrapper) (*EncryptionData, *ContentKey, error) {
	plain := make([]byte, versionSize+keySize)
	defer clear(plain)
	copy(plain, versionPrefix(version2))
	_, _ = rand.Read(plain[versionSize:]) // never fails since Go 1.24
	wrapped, err := w.wrap(plain)
	if err != nil {
		return nil, nil, fmt.Errorf("wrap the content key: %w", err)
	}
	key, err := newContentKey(plain[versionSize:])
	return &EncryptionData{KeyID: keyID, Algorithm: w.algorithm, Version: version2, Region: RegionSize, wrapped: wrapped}, key, err
}
