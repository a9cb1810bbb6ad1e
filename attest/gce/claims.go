package gce

import (
	"strconv"

	"github.com/openskr/openskr/attest/schema"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/tdx"
	"github.com/openskr/openskr/attest/tpm"
)

// claims are those of the AK certificate. Numbers of Google are text: they have up to
// 64 bits, of which many a JSON reader keeps 53.
func (i *instance) claims() map[string]any {
	return map[string]any{
		"project_id":       i.projectID,
		"project_number":   strconv.FormatUint(i.projectNumber, 10),
		"zone":             i.zone,
		"instance_id":      strconv.FormatUint(i.instanceID, 10),
		"instance_name":    i.instanceName,
		"security_version": strconv.FormatUint(i.securityVersion, 10),
	}
}

// Schema is the JSON schema of the claims: those of the vTPM, of the hardware where
// it has a part, and of the AK certificate. docs/claims.md says what each means.
func Schema() map[string]any {
	return schema.Union(tpm.Schema(), snp.Schema(), tdx.Schema(), schema.Object(map[string]any{
		"gce": schema.Object(map[string]any{
			"project_id":       schema.Text(),
			"project_number":   schema.Text(),
			"zone":             schema.Text(),
			"instance_id":      schema.Text(),
			"instance_name":    schema.Text(),
			"security_version": schema.Text(),
		}),
	}))
}
