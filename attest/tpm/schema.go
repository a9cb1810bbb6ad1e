package tpm

import "strconv"

// Schema is the JSON schema of the claims of TPM evidence: input.claims of a
// release policy. Every object is closed, so that a policy which misspells a
// claim does not compile. docs/claims.md says what each claim means.
func Schema() map[string]any {
	pcrs := make(map[string]any, 24)
	for i := range 24 {
		pcrs[strconv.Itoa(i)] = text()
	}
	return object(map[string]any{
		"secureboot":                   boolean(),
		"secureboot_db":                array(text()),
		"secureboot_db_hashes":         array(text()),
		"secureboot_dbx_count":         integer(),
		"secureboot_authorities":       array(text()),
		"secureboot_other_authorities": array(text()),
		"boot": object(map[string]any{
			"cmdline":  text(),
			"loader":   text(),
			"firmware": text(),
		}),
		"tpm": object(map[string]any{
			"ak":               text(),
			"ek":               text(),
			"bank":             text(),
			"firmware_version": text(),
			"pcrs":             object(map[string]any{"sha256": object(pcrs), "sha384": object(pcrs)}),
			"clock": object(map[string]any{
				"safe":          boolean(),
				"reset_count":   integer(),
				"restart_count": integer(),
			}),
			"eventlog": object(map[string]any{
				"present":     boolean(),
				"complete":    boolean(),
				"unexplained": array(integer()),
			}),
		}),
	})
}

func object(properties map[string]any) map[string]any {
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

func array(items map[string]any) map[string]any {
	return map[string]any{"type": "array", "items": items}
}
func text() map[string]any    { return map[string]any{"type": "string"} }
func boolean() map[string]any { return map[string]any{"type": "boolean"} }
func integer() map[string]any { return map[string]any{"type": "integer"} }
