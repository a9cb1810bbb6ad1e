// Package format is the wire shape of the Evidence of a Google Compute Engine
// instance, shared by the verifier (attest/gce) and the collecting half.
package format

import (
	"github.com/openskr/openskr/attest"
	tpm "github.com/openskr/openskr/attest/tpm/format"
)

// Evidence is the body of Evidence of type "gce": a Shielded VM's vTPM, and for a
// Confidential VM the report of its hardware. Certificates travel as Endorsements;
// the AK's has type attest.EndorsementAKCertificate.
type Evidence struct {
	Type attest.Type  `json:"type"` // "gce"
	TPM  tpm.Evidence `json:"tpm"`  // of type "tpm"
	// At most one of the two. Report data is SHA-256(runtime data) followed by
	// SHA-256(AK as TPMT_PUBLIC): a report that does not name this AK may come from
	// another machine.
	SNPReport attest.Bytes `json:"snp_report,omitempty"`
	TDXQuote  attest.Bytes `json:"tdx_quote,omitempty"`
}
