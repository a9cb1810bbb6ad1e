package deployment

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// dkSize is the size of the deployment key, in bytes.
const dkSize = 32

// Labels of the keys derived from the deployment key. Each has one use, so a
// weakness in one says nothing about another.
const (
	labelRoot      = "root"      // AES-256-GCM: vault keys and the deployment's own private keys
	labelPublic    = "public"    // HMAC over deployment/public
	labelNonce     = "nonce"     // challenges
	labelEnroll    = "enroll"    // enrolment state
	labelPseudonym = "pseudonym" // names of machines in records
	labelPage      = "page"      // continuation tokens
	labelObject    = "object"    // HMAC over object rows
	labelDrill     = "drill"     // recovery challenges
)

// derive gives 32 bytes for one use in one deployment.
func derive(dk []byte, id, label string) ([]byte, error) {
	if len(dk) != dkSize {
		return nil, fmt.Errorf("deployment key has %d bytes, want %d", len(dk), dkSize)
	}
	return hkdf.Key(sha256.New, dk, []byte(id), "openskr/deployment/v1/"+label, 32)
}

// errSealed says that something sealed under the deployment key does not open.
var errSealed = errors.New("sealed value does not open under the deployment key: it was altered, or belongs to another deployment")

// root seals under the deployment key; it implements keyvault.Root.
type root struct{ gcm cipher.AEAD }

func newRoot(key []byte) (*root, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	return &root{gcm}, err
}

func (r *root) Seal(plaintext, aad []byte) ([]byte, error) {
	return r.gcm.Seal(nil, nil, plaintext, aad), nil
}

func (r *root) Unseal(sealed, aad []byte) ([]byte, error) {
	b, err := r.gcm.Open(nil, nil, sealed, aad)
	if err != nil {
		return nil, errSealed
	}
	return b, nil
}

// Format keeps the key out of logs, whatever the verb.
func (r *root) Format(f fmt.State, _ rune) { fmt.Fprint(f, "deployment root key") } //nolint:errcheck // nowhere to report to

// aad joins parts, each after its length, so that no two lists of parts are alike.
func aad(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	return b
}

func mac(key []byte, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
