package azurecvm

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
)

// result joins the parts. A fact that either denies is denied.
func (v *Verifier) result(body *format.Evidence, m *machine, part *attest.Result) *attest.Result {
	f, h := part.Facts, m.hardware.Facts
	f.Chain, f.Signature = h.Chain, f.Signature && h.Signature
	f.Debug, f.Migratable = f.Debug || h.Debug, f.Migratable || h.Migratable
	f.Revocation, f.TCBStatus, f.CollateralAge = h.Revocation, h.TCBStatus, h.CollateralAge
	return &attest.Result{
		Type: v.cfg.Type, Authority: m.hardware.Authority, Identity: m.identity,
		Claims: m.claims(body, part.Claims), Recipient: part.Recipient, Facts: f,
	}
}

// native are the typed details of the hardware, which policies of all types name alike.
var native = []string{"snp", "tdx"}

// claims adds to those of the TPM what the hardware and the paravisor say.
func (m *machine) claims(body *format.Evidence, claims attest.Claims) attest.Claims {
	tee := map[string]any{"x-ms-runtime": m.runtime.claims()}
	for name, c := range m.hardware.Claims {
		if slices.Contains(native, name) {
			claims[name] = c
		} else {
			tee[name] = c
		}
	}
	claims["x-ms-isolation-tee"] = tee
	claims["x-ms-attestation-type"] = "azurevm"
	if numbers := attestedPCRs(body); len(numbers) > 0 { // none: offline, without values
		claims["x-ms-azurevm-attested-pcrs"] = numbers
	}
	azure := map[string]any{"hcl_version": int64(m.hcl.Version)}
	if m.runtime.vmID != "" {
		claims["x-ms-azurevm-vmid"], azure["vmid"] = m.runtime.vmID, m.runtime.vmID
	}
	if m.runtime.userData != "" {
		azure["user_data"] = strings.ToLower(m.runtime.userData)
	}
	for name, member := range map[string]string{
		"secure_boot": "secure-boot", "console_enabled": "console-enabled", "tpm_enabled": "tpm-enabled", "tpm_persisted": "tpm-persisted",
	} {
		if b, ok := m.runtime.config[member].(bool); ok {
			azure[name] = b
		}
	}
	if m.cert != nil {
		azure["ak_certificate"] = certificateClaims(m.cert)
	}
	claims["azure"] = azure
	if u := unverified(body.Client); len(u) > 0 {
		claims["unverified"] = u
	}
	return claims
}

// attestedPCRs lists the quoted PCRs: package tpm proved that they are those of the body.
func attestedPCRs(body *format.Evidence) []any {
	var numbers []int
	for _, bank := range body.TPM.PCRs {
		for name := range bank {
			if n, err := strconv.Atoi(name); err == nil {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	out := make([]any, len(numbers))
	for i, n := range numbers {
		out[i] = int64(n)
	}
	return out
}

// Members of the paravisor's vm-configuration that become claims, with their types.
// What a later paravisor adds is no claim until its meaning is known.
var (
	configBools = []string{"console-enabled", "secure-boot", "tpm-enabled", "tpm-persisted", "filtered-vpci-devices-allowed"}
	configTexts = []string{"vmUniqueId", "root-cert-thumbprint", "secure-boot-template-id"}
	configInts  = []string{"current-time"}
)

// claims is the runtime JSON in the types that claims have.
func (r *runtime) claims() map[string]any {
	keys := make([]any, len(r.keys))
	for i, k := range r.keys {
		ops := make([]any, len(k.ops))
		for j, op := range k.ops {
			ops[j] = op
		}
		key := map[string]any{"kid": k.kid, "kty": k.kty, "key_ops": ops}
		if k.kty == "RSA" {
			key["e"], key["n"] = k.e, k.n
		}
		keys[i] = key
	}
	config := map[string]any{}
	for _, name := range configBools {
		if b, ok := r.config[name].(bool); ok {
			config[name] = b
		}
	}
	for _, name := range configTexts {
		if s, ok := r.config[name].(string); ok {
			config[name] = s
		}
	}
	for _, name := range configInts {
		if f, ok := r.config[name].(float64); ok && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			config[name] = int64(f)
		}
	}
	out := map[string]any{"keys": keys, "vm-configuration": config}
	if r.userData != "" {
		out["user-data"] = r.userData
	}
	return out
}

// unverified is what the machine says of itself, kept apart from what is proven.
func unverified(c *format.Client) map[string]any {
	out := map[string]any{}
	if c == nil {
		return out
	}
	for name, s := range map[string]string{"os_type": c.OSType, "os_distro": c.OSDistro, "os_version": c.OSVersion, "os_build": c.OSBuild} {
		if s != "" {
			out[name] = s
		}
	}
	if len(c.Payload) > 0 {
		payload := make(map[string]any, len(c.Payload))
		for name, s := range c.Payload {
			payload[name] = s
		}
		out["payload"] = payload
	}
	return out
}
