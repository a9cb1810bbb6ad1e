// Package seal holds the providers of the root key-encryption key (KEK), which
// wraps the deployment key and never lies in the database or a backup of it.
// The one provider now is a file; what it protects against and what not is in
// docs/adr/0005-sealing.md.
package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// Size of a KEK, in bytes.
const Size = 32

// ErrWrongKey says that a KEK does not open what it was given: another KEK, other
// aad, or altered bytes; which of them is not told apart.
var ErrWrongKey = errors.New("root key does not open this deployment: wrong key file, or the store was altered")

// KEK wraps small secrets. Implementations are safe for concurrent use.
type KEK interface {
	// ID names the key without telling anything about it; it is the same for the
	// same key, wherever it lies.
	ID() string
	// Wrap seals plaintext; aad must be the same at Unwrap.
	Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error)
	// Unwrap gives the plaintext, which the caller clears. ErrWrongKey.
	Unwrap(ctx context.Context, sealed, aad []byte) ([]byte, error)
}

// local is a KEK whose bytes are in this process.
type local struct {
	id  string
	gcm cipher.AEAD
}

// newLocal derives id and wrapping key from the KEK with labels of their own, so
// that the public id says nothing about the key.
func newLocal(kek []byte) (*local, error) {
	if len(kek) != Size {
		return nil, fmt.Errorf("root key has %d bytes, want %d", len(kek), Size)
	}
	id, err := hkdf.Key(sha256.New, kek, nil, "openskr/kek/v1/id", 8)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, kek, nil, "openskr/kek/v1/wrap", 32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &local{id: hex.EncodeToString(id), gcm: gcm}, nil
}

func (l *local) ID() string { return l.id }

func (l *local) Wrap(_ context.Context, plaintext, aad []byte) ([]byte, error) {
	return l.gcm.Seal(nil, nil, plaintext, aad), nil
}

func (l *local) Unwrap(_ context.Context, sealed, aad []byte) ([]byte, error) {
	plaintext, err := l.gcm.Open(nil, nil, sealed, aad)
	if err != nil {
		return nil, ErrWrongKey
	}
	return plaintext, nil
}

// Format keeps the key out of logs, whatever the verb.
func (l *local) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "root key %s", l.id) } //nolint:errcheck // nowhere to report to
