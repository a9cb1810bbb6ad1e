// Package binding is the runtime data: the JSON document whose SHA-256 the
// hardware signs, so that Evidence is fresh for one nonce and good for one key,
// one purpose and one recipient (docs/wire/native.md).
//
// Its bytes are hashed as received and never re-serialised. Parsing is strict:
// a document that two parsers could read differently is refused.
package binding

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/strict"
)

// MaxSize bounds a runtime data document in bytes.
const MaxSize = 16 << 10

// Purposes of runtime data. Evidence for one is refused for the other.
const (
	PurposeRelease = "release" // of a key, for a use that is not said
	PurposeUnlock  = "unlock"  // of a key, to open the LUKS disk that was made with it
	PurposeFormat  = "format"  // of a key, to make a LUKS disk with it, which an operator allows once
	PurposeToken   = "token"   // of an attested access token for a vault
)

// KeyPurposes lists those for which a key is asked.
func KeyPurposes() []string { return []string{PurposeRelease, PurposeUnlock, PurposeFormat} }

// NonceSize is the length of a broker nonce in bytes (package challenge).
const NonceSize = 52

// RuntimeData is the document of a native request. Every member is required, but of
// key and vault exactly one.
type RuntimeData struct {
	Keys     []jsontext.Value `json:"keys"`     // exactly one: the recipient's JWK
	Nonce    attest.Bytes     `json:"nonce"`    // from POST /v1/challenge
	Audience string           `json:"audience"` // deployment id
	Purpose  string           `json:"purpose"`
	Key      string           `json:"key,omitzero"`   // key URL exactly as requested, version optional
	Vault    string           `json:"vault,omitzero"` // URL of a vault exactly as requested, of a token
	Enc      string           `json:"enc"`            // wrap algorithm (package wrap)
}

// Errors of Parse that have a code of their own.
var (
	ErrNoRecipient = errors.New("runtime data names no recipient key")
	ErrNoNonce     = errors.New("runtime data has no nonce")
	ErrAmbiguous   = errors.New("runtime data names more than one recipient key")
)

// Parse reads the document strictly. It does not judge the recipient key
// (package wrap) or the nonce (package challenge).
func Parse(b []byte) (*RuntimeData, error) {
	var r RuntimeData
	if err := strict.Unmarshal(b, MaxSize, &r); err != nil {
		return nil, fmt.Errorf("runtime data: %w", err)
	}
	switch {
	case len(r.Keys) == 0:
		return nil, ErrNoRecipient
	case len(r.Keys) > 1:
		return nil, ErrAmbiguous
	case len(r.Nonce) == 0:
		return nil, ErrNoNonce
	case r.Audience == "" || r.Purpose == "" || r.Enc == "" || (r.Key == "") == (r.Vault == ""):
		return nil, errors.New("runtime data: audience, purpose, enc, and either key or vault, are all required")
	}
	return &r, nil
}

// Recipient is the one key of a parsed document.
func (r *RuntimeData) Recipient() []byte { return r.Keys[0] }

// Encode makes the bytes that the hardware is asked to sign the hash of.
func (r *RuntimeData) Encode() ([]byte, error) { return strict.Marshal(r) }

// Digest is what the hardware signs: SHA-256 of the document as received.
// SNP and TDX report data carry it in their first 32 bytes, the rest zero; a
// TPM carries it as extraData.
func Digest(runtimeData []byte) [32]byte { return sha256.Sum256(runtimeData) }
