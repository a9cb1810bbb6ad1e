// Package format is the wire shape of the Evidence of an Azure confidential VM,
// shared by the verifier (attest/azurecvm) and the collecting half.
package format

import (
	"github.com/openskr/openskr/attest"
	tpm "github.com/openskr/openskr/attest/tpm/format"
)

// Evidence is the body of Evidence of type "azure-cvm": the report that the paravisor
// (HCL) had made at boot, which names the vTPM's AK, and a quote by that AK.
// Certificates of the hardware travel as Endorsements.
type Evidence struct {
	Type attest.Type  `json:"type"` // "azure-cvm" or "simulated-azure-cvm"
	HCL  attest.Bytes `json:"hcl"`  // NV index 0x01400001 as read
	// TPM is the vTPM's part, of type "tpm"; its ak may be empty, since the HCL report
	// names the key.
	TPM     tpm.Evidence `json:"tpm"`
	TDQuote attest.Bytes `json:"td_quote,omitempty"` // of a TDX machine: DCAP quote over the TDREPORT in HCL
	Client  *Client      `json:"client,omitempty"`
}

// Client is what the machine says of itself without proof. It reaches policies under
// claims.unverified only.
type Client struct {
	OSType    string            `json:"os_type,omitempty"`
	OSDistro  string            `json:"os_distro,omitempty"`
	OSVersion string            `json:"os_version,omitempty"`
	OSBuild   string            `json:"os_build,omitempty"`
	Payload   map[string]string `json:"payload,omitempty"`
}
