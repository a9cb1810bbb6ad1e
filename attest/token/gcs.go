package token

import (
	"encoding/base64"
	"maps"
	"slices"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
)

// gcs is Google Cloud Attestation: tokens of Confidential Space and of Confidential
// VMs, and those that Intel Trust Authority signs for Confidential Space in the same
// shape.
type gcs struct{}

const maxNonces = 6 // Google's own limit

// digestText is base64url(SHA-256(runtime data)): 43 characters, which every service's
// nonce has room for.
func digestText(runtimeData []byte) string {
	d := binding.Digest(runtimeData)
	return base64.RawURLEncoding.EncodeToString(d[:])
}

// bound: the launcher in the VM asks for a token with nonces that the workload gave it;
// the service repeats them for that VM and that audience only.
func (g gcs) bound(claims object, runtimeData []byte) bool {
	return slices.Contains(g.nonces(claims), digestText(runtimeData))
}

func (gcs) nonces(claims object) []string {
	n := read(claims).texts("eat_nonce")
	if len(n) > maxNonces {
		return nil
	}
	return n
}

func (gcs) appraise(claims object) (*statement, *attest.Rejection) {
	s, r := newStatement(), read(claims)
	s.debugStatus(r)
	copyClaims(s.detail, r, gcsNames())
	if on, ok := r.boolean("secboot"); ok {
		s.claims["secureboot"] = on
	}

	mods := r.object("submods")
	gce, container, space := mods.object("gce"), mods.object("container"), mods.object("confidential_space")
	copyClaims(s.detail, gce, gceNames())
	copyClaims(s.detail, container, containerNames())
	for _, name := range []string{"env", "env_override"} {
		if container.has(name) {
			s.detail[name] = environment(container.object(name))
		}
	}
	copyClaims(s.detail, space, []claim{{"support_attributes", texts}})
	if watched, ok := space.object("monitoring_enabled").boolean("memory"); ok {
		s.detail["memory_monitoring"] = watched
	}
	var signers []any
	for _, sig := range container.objects("image_signatures") {
		if id, ok := sig.text("key_id"); ok {
			signers = append(signers, id)
		}
	}
	if signers != nil {
		s.detail["image_signature_keys"] = signers
	}
	s.subject, _ = gce.text("instance_id")
	if s.subject == "" {
		s.subject, _ = r.text("sub")
	}
	s.googleHardware(r)
	if err := r.failed(); err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "token: %w", err)
	}
	return s, nil
}

// googleHardware notes the kind of hardware and, for Intel's, its TCB level as Google
// states it.
func (s *statement) googleHardware(r reader) {
	switch model, _ := r.text("hwmodel"); model {
	case "GCP_AMD_SEV_SNP":
		s.claims["x-ms-attestation-type"] = maaSNP
	case "GCP_INTEL_TDX", "INTEL_TDX":
		s.claims["x-ms-attestation-type"] = maaTDX
		from := r
		if !r.has("tdx") {
			from = r.object("submods")
		}
		tdx := from.sole("tdx") // seen both ways
		s.level(tdx, "gcp_attester_tcb_status")
		for ours, theirs := range map[string]string{"tcb_status": "gcp_attester_tcb_status", "tcb_date": "gcp_attester_tcb_date"} {
			if v, ok := tdx.text(theirs); ok {
				s.detail[ours] = v
			}
		}
	}
}

// environment is NAME=value, sorted, so that a policy can name one.
func environment(r reader) []any {
	out := []any{}
	for _, name := range slices.Sorted(maps.Keys(r.members)) {
		if v, ok := r.text(name); ok {
			out = append(out, name+"="+v)
		}
	}
	return out
}

func gcsNames() []claim {
	return []claim{
		{"hwmodel", text},
		{"swname", text},
		{"swversion", texts},
		{"oemid", integer},
		{"dbgstat", text},
		{"eat_profile", text},
		{"attester_tcb", texts},
		{"google_service_accounts", texts},
		{"sub", text},
	}
}

func gceNames() []claim {
	return []claim{{"zone", text}, {"project_id", text}, {"project_number", text}, {"instance_name", text}, {"instance_id", text}}
}

func containerNames() []claim {
	return []claim{
		{"image_reference", text},
		{"image_digest", text},
		{"image_id", text},
		{"restart_policy", text},
		{"args", texts},
		{"cmd_override", texts},
	}
}
