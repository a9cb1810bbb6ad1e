// Package format is the wire shape of a token of an attestation service as Evidence.
package format

import "github.com/openskr/openskr/attest"

// Evidence is the body of Evidence of type "token".
type Evidence struct {
	Type  attest.Type `json:"type"`  // "token"
	Token string      `json:"token"` // compact JWS
}
