package format

import (
	"github.com/openskr/openskr/attest"
	tpm "github.com/openskr/openskr/attest/tpm/format"
)

// Guest is what the guest client of Azure Attestation sends, taken out of its envelope:
// the same proofs as [Evidence], but the report without the paravisor's frame around it.
type Guest struct {
	Type    attest.Type
	Report  []byte // of an SNP machine
	TDQuote []byte // of a TDX machine
	Runtime []byte // JSON whose SHA-256 the hardware signed
	TPM     tpm.Evidence
}
