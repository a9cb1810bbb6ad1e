package binding

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
)

// ChallengeRequest is the body of POST /v1/challenge.
type ChallengeRequest struct {
	Purpose string `json:"purpose"`
	Key     string `json:"key,omitzero"`   // of what asks for a key: its URL, version optional
	Vault   string `json:"vault,omitzero"` // of a token: URL of a vault, https://HOST[:PORT]
}

// Challenge answers it.
type Challenge struct {
	Nonce    attest.Bytes `json:"nonce"`
	Audience string       `json:"audience"`
	Expires  int64        `json:"expires"` // Unix seconds
}

// ReleaseRequest is the body of POST /v1/release and of POST /v1/token.
type ReleaseRequest struct {
	RuntimeData  attest.Bytes         `json:"runtime_data"`
	Evidence     jsontext.Value       `json:"evidence"` // object whose "type" member names its format
	Endorsements []attest.Endorsement `json:"endorsements,omitempty"`
}

// ReleaseResponse answers both: a compact JWS whose payload is a receipt.Response.
type ReleaseResponse struct {
	Response string `json:"response"`
}

// ErrorBody is every error of the native door, in the shape of Key Vault's.
type ErrorBody struct {
	Error struct {
		Code          string     `json:"code"` // Key Vault word, e.g. "Forbidden"
		Message       string     `json:"message"`
		InnerError    InnerError `json:"innererror"`
		CorrelationID string     `json:"correlation_id"`
	} `json:"error"`
}

// InnerError has the reason (docs/reasons.md) at its innermost. On the Key Vault door
// the words that clients look for are around it.
type InnerError struct {
	Code       string      `json:"code"`
	InnerError *InnerError `json:"innererror,omitempty"`
}

// Reason is the innermost code.
func (e InnerError) Reason() string {
	for e.InnerError != nil {
		e = *e.InnerError
	}
	return e.Code
}
