package azurecvm

import (
	"maps"

	"github.com/openskr/openskr/attest/schema"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/tdx"
	"github.com/openskr/openskr/attest/tpm"
)

// Schema is the JSON schema of the claims of Azure evidence: those of the TPM, the
// native ones of the hardware, and Azure's own. docs/claims.md says what each means.
func Schema() map[string]any {
	return schema.Union(tpm.Schema(), nativeSchema(), schema.Object(map[string]any{
		"x-ms-attestation-type":      schema.Text(),
		"x-ms-azurevm-vmid":          schema.Text(),
		"x-ms-azurevm-attested-pcrs": schema.Array(schema.Int()),
		"x-ms-isolation-tee":         isolationSchema(),
		"azure": schema.Object(map[string]any{
			"hcl_version":     schema.Int(),
			"vmid":            schema.Text(),
			"user_data":       schema.Text(),
			"secure_boot":     schema.Bool(),
			"console_enabled": schema.Bool(),
			"tpm_enabled":     schema.Bool(),
			"tpm_persisted":   schema.Bool(),
			"ak_certificate": schema.Object(map[string]any{
				"root": schema.Text(), "authority": schema.Text(), "issuer": schema.Text(), "subject": schema.Text(),
			}),
		}),
		"unverified": schema.Object(map[string]any{
			"os_type":    schema.Text(),
			"os_distro":  schema.Text(),
			"os_version": schema.Text(),
			"os_build":   schema.Text(),
			"payload":    schema.Open(),
		}),
	}))
}

// hardwareSchemas are those of the types that a machine may run on.
func hardwareSchemas() []map[string]any { return []map[string]any{snp.Schema(), tdx.Schema()} }

// nativeSchema is the hardware's typed detail, at the top as for the hardware alone.
func nativeSchema() map[string]any {
	out := map[string]any{}
	for _, s := range hardwareSchemas() {
		for _, name := range native {
			if member, ok := s["properties"].(map[string]any)[name]; ok {
				out[name] = member
			}
		}
	}
	return schema.Object(out)
}

// isolationSchema is the rest of the hardware's claims, and the paravisor's.
func isolationSchema() map[string]any {
	config := map[string]any{}
	for _, name := range configBools {
		config[name] = schema.Bool()
	}
	for _, name := range configTexts {
		config[name] = schema.Text()
	}
	for _, name := range configInts {
		config[name] = schema.Int()
	}
	all := []map[string]any{schema.Object(map[string]any{
		"x-ms-runtime": schema.Object(map[string]any{
			"keys": schema.Array(schema.Object(map[string]any{
				"kid": schema.Text(), "kty": schema.Text(), "key_ops": schema.Array(schema.Text()), "e": schema.Text(), "n": schema.Text(),
			})),
			"vm-configuration": schema.Object(config),
			"user-data":        schema.Text(),
		}),
	})}
	for _, s := range hardwareSchemas() {
		flat := maps.Clone(s["properties"].(map[string]any))
		for _, name := range native {
			delete(flat, name)
		}
		all = append(all, schema.Object(flat))
	}
	return schema.Union(all...)
}
