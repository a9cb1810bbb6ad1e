// Package format is the wire shape of TDX Evidence, shared by the verifier
// (attest/tdx), the collecting half (attest/tdx/guest) and composites.
package format

import "github.com/openskr/openskr/attest"

// Evidence is the body of Evidence of type "tdx".
type Evidence struct {
	Type     attest.Type  `json:"type"`                // "tdx" or "simulated-tdx"
	Quote    attest.Bytes `json:"quote"`               // DCAP quote, version 4 or 5, with its certification data
	EventLog attest.Bytes `json:"event_log,omitempty"` // CCEL data (UEFI 2.11 §38.4), cut after its last event
}
