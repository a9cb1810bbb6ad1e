package tpm

import (
	"strconv"

	"github.com/openskr/openskr/attest/schema"
)

// Schema is the JSON schema of the claims of TPM evidence: input.claims of a
// release policy. Every object is closed, so that a policy which misspells a
// claim does not compile. docs/claims.md says what each claim means.
func Schema() map[string]any {
	pcrs := make(map[string]any, 24)
	for i := range 24 {
		pcrs[strconv.Itoa(i)] = schema.Text()
	}
	return schema.Object(map[string]any{
		"secureboot":                   schema.Bool(),
		"secureboot_db":                schema.Array(schema.Text()),
		"secureboot_db_hashes":         schema.Array(schema.Text()),
		"secureboot_dbx_count":         schema.Int(),
		"secureboot_authorities":       schema.Array(schema.Text()),
		"secureboot_other_authorities": schema.Array(schema.Text()),
		"boot": schema.Object(map[string]any{
			"cmdline":  schema.Text(),
			"loader":   schema.Text(),
			"firmware": schema.Text(),
		}),
		"tpm": schema.Object(map[string]any{
			"ak":               schema.Text(),
			"ek":               schema.Text(),
			"bank":             schema.Text(),
			"firmware_version": schema.Text(),
			"pcrs":             schema.Object(map[string]any{"sha256": schema.Object(pcrs), "sha384": schema.Object(pcrs)}),
			"clock": schema.Object(map[string]any{
				"safe":          schema.Bool(),
				"reset_count":   schema.Int(),
				"restart_count": schema.Int(),
			}),
			"eventlog": schema.Object(map[string]any{
				"present":     schema.Bool(),
				"complete":    schema.Bool(),
				"unexplained": schema.Array(schema.Int()),
			}),
		}),
	})
}
