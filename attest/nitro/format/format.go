// Package format is the wire shape of AWS Nitro Evidence, shared by the verifier
// (attest/nitro) and the collecting half.
package format

import "github.com/openskr/openskr/attest"

// Evidence is the body of Evidence of type "nitro".
type Evidence struct {
	Type     attest.Type  `json:"type"`     // "nitro" or "simulated-nitro"
	Document attest.Bytes `json:"document"` // COSE_Sign1 attestation document of the NSM or a NitroTPM
}
