// Package format is the wire shape of SGX Evidence.
package format

import "github.com/openskr/openskr/attest"

// Evidence is the body of Evidence of type "sgx".
type Evidence struct {
	Type  attest.Type  `json:"type"`  // "sgx"
	Quote attest.Bytes `json:"quote"` // DCAP quote, version 3 (or 4 and 5 with an SGX body)
}
