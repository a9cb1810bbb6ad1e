// Package format is the wire shape of SEV-SNP Evidence, shared by the verifier
// (attest/snp), the collecting half (attest/snp/guest) and composites.
package format

import "github.com/openskr/openskr/attest"

// Evidence is the body of Evidence of type "snp". Certificates travel as
// Endorsements.
type Evidence struct {
	Type   attest.Type  `json:"type"`   // "snp" or "simulated-snp"
	Report attest.Bytes `json:"report"` // ATTESTATION_REPORT, 1184 bytes (SEV-SNP ABI 56860, table 23)
}
