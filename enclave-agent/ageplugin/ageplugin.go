// Package ageplugin makes released keys recipients and identities of age
// (age-encryption.org/v1), for the plugin protocol (age-plugin-openskr) and for this
// program's own streams.
//
// Who encrypts needs the public half of a key and no broker. Who decrypts needs no
// secret: the identity names the key, and the file key opens only on a machine that the
// broker releases the private half to. A stanza of a file:
//
//	-> openskr KTY TAG VERSION
//	BODY
//
// KTY is EC (P-256) or RSA (2048 to 4096 bits). TAG is 16 bytes of SHA-256 over
// "openskr/age/v1/key " and the key's URL without a version, VERSION 32 hex digits of
// Key Vault. With info = "openskr/age/v1 " and the URL with the version, BODY is for EC
// the 97 bytes of HPKE base mode (RFC 9180: DHKEM P-256 with HKDF-SHA256, HKDF-SHA256,
// ChaCha20-Poly1305, no aad), encapsulated key first; for RSA it is RSA-OAEP with
// SHA-256, info as its label. Both are classical: the broker keeps no ML-KEM keys, so a
// file that is recorded today is not safe from a quantum computer. Base64 is standard,
// without padding.
//
// A stanza chooses nothing but a version of the key that the identity names.
package ageplugin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	agent "github.com/openskr/openskr/enclave-agent"
)

const (
	// Program is the name that age starts the plugin by: a link to openskr-workload.
	Program = "age-plugin-" + name

	name       = "openskr"
	stanzaType = name
	wrapInfo   = "openskr/age/v1 "
	tagPrefix  = "openskr/age/v1/key "
	tagSize    = 16
	fileKey    = 16 // bytes of age's file key
)

// ErrFile says that a file is damaged, was altered, or is for another key.
var ErrFile = errors.New("age file")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrFile, fmt.Errorf(format, args...))
}

// bad is an [agent.ErrConfig]: what a person gave is not usable.
func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %w", agent.ErrConfig, fmt.Errorf(format, args...))
}

// Release gets a key for this machine; [agent.Agent.Key] is one.
type Release func(ctx context.Context, keyURL string) (*agent.Released, error)

// keyURL is a key's URL taken apart. One spelling only: its bytes are hashed.
type keyURL struct {
	base    string // https://host/keys/name
	version string // 32 hex digits, or ""
}

func parseKeyURL(s string) (keyURL, error) {
	base, version, err := agent.SplitKeyURL(s)
	if err != nil {
		return keyURL{}, err
	}
	if host, _, _ := strings.Cut(base, "/keys/"); host != strings.ToLower(host) {
		return keyURL{}, bad("key %.256q: write the host in lower case: files are found by it", s)
	}
	return keyURL{base, version}, nil
}

func (k keyURL) String() string {
	return strings.TrimSuffix(k.base+"/"+k.version, "/")
}

// tag finds the stanzas of a key without telling its name to who cannot guess it.
func (k keyURL) tag() string {
	h := sha256.Sum256([]byte(tagPrefix + k.base))
	return base64.RawStdEncoding.EncodeToString(h[:tagSize])
}

// info binds a file key to the key version that it is wrapped to.
func (k keyURL) info() []byte { return []byte(wrapInfo + k.String()) }
