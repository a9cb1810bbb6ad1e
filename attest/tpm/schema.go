package tpm

// Schema is the JSON schema of the claims of TPM evidence.
func Schema() map[string]any { return map[string]any{"type": "object"} }
