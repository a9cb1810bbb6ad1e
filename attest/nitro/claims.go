package nitro

import (
	"encoding/hex"
	"strconv"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/schema"
)

// claims are what the document says. The PCRs of an enclave and those of a NitroTPM
// have names of their own: the system of an instance can extend PCR 8 of its NitroTPM
// to the very value that a signed enclave has there.
func claims(d *document) attest.Claims {
	values := make(map[string]any, len(d.pcrs))
	for i, v := range d.pcrs {
		values[strconv.FormatUint(i, 10)] = hex.EncodeToString(v)
	}
	out := map[string]any{
		"module_id":   d.moduleID,
		"digest":      "sha384",
		"timestamp":   d.timestamp,
		"is_nitrotpm": d.tpm,
	}
	if d.tpm {
		out["nitrotpm_pcrs"] = values
	} else {
		out["pcrs"] = values
	}
	return attest.Claims{"nitro": out}
}

// Schema is the JSON schema of the claims; docs/claims.md says what each means.
func Schema() map[string]any {
	pcrs := make(map[string]any, maxPCRs)
	for i := range maxPCRs {
		pcrs[strconv.Itoa(i)] = schema.Text()
	}
	return schema.Object(map[string]any{
		"nitro": schema.Object(map[string]any{
			"module_id":     schema.Text(),
			"digest":        schema.Text(),
			"timestamp":     schema.Int(),
			"is_nitrotpm":   schema.Bool(),
			"pcrs":          schema.Object(pcrs),
			"nitrotpm_pcrs": schema.Object(pcrs),
		}),
	})
}
