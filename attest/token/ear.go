package token

import (
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
)

// ear is an EAT Attestation Result (draft-ietf-rats-ear), as Veraison and Trustee
// sign them.
type ear struct{}

const (
	affirming = "affirming"
	annotated = "ear.veraison.annotated-evidence"
)

// vectorNames is the trustworthiness vector of AR4SI, and its names here.
func vectorNames() []string {
	return []string{
		"instance-identity", "configuration", "executables", "file-system",
		"hardware", "runtime-opaque", "storage-opaque", "sourced-data",
	}
}

// bound: a verifier that takes a nonce has found it in the hardware's evidence before
// it repeats it in eat_nonce. Trustee takes runtime data instead, hashes its JSON into
// what the report data must be, and shows it in the annotated evidence of every device:
// only the CPU's counts, since any machine may have the GPU.
func (e ear) bound(claims object, runtimeData []byte) bool {
	if slices.Contains(e.nonces(claims), digestText(runtimeData)) {
		return true
	}
	name, cpu, ok := e.cpu(read(claims))
	return ok && (name == "cpu0" || name == "cpu") && equal(cpu.object(annotated).members["runtime_data_claims"], runtimeData, binding.MaxSize)
}

func (ear) nonces(claims object) []string { return read(claims).texts("eat_nonce") }

// cpu is the submodule that speaks for the machine: the only one, or the one that
// Trustee calls cpu0 and called cpu.
func (ear) cpu(r reader) (name string, sub reader, ok bool) {
	mods := r.object("submods")
	names := slices.Collect(maps.Keys(mods.members))
	if len(names) != 1 {
		names = slices.DeleteFunc(names, func(n string) bool { return n != "cpu0" && n != "cpu" })
	}
	if len(names) != 1 {
		return "", reader{}, false
	}
	return names[0], mods.object(names[0]), true
}

func (e ear) appraise(claims object) (*statement, *attest.Rejection) {
	s, r := newStatement(), read(claims)
	copyClaims(s.detail, r, []claim{{"eat_profile", text}})
	if by, ok := r.object("ear.verifier-id").text("developer"); ok {
		s.detail["developer"] = by
	}
	if by, ok := r.object("ear.verifier-id").text("build"); ok {
		s.detail["build"] = by
	}
	_, cpu, ok := e.cpu(r)
	if !ok {
		return nil, attest.Reject(attest.CheckMalformed, "token: no submodule, or none that speaks for the machine")
	}
	if rej := s.submodules(r.object("submods")); rej != nil {
		return nil, rej
	}
	s.subject, _ = r.text("sub")
	if rej := s.trustee(cpu); rej != nil {
		return nil, rej
	}
	// The CPU's configuration claim is the verdict on debugging, among other things:
	// affirming is 2 to 31 (AR4SI §2.3.2).
	if c, ok := cpu.object("ear.trustworthiness-vector").integer("configuration"); ok && c >= 2 && c < 32 {
		s.debug(false, true)
	}
	if err := r.failed(); err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "token: %w", err)
	}
	return s, nil
}

// submodules lists every submodule with its verdict. All must be affirming: a machine
// is no better than its worst part.
func (s *statement) submodules(mods reader) *attest.Rejection {
	var list []any
	for _, name := range slices.Sorted(maps.Keys(mods.members)) {
		sub := mods.object(name)
		status, _ := sub.text("ear.status")
		if status != affirming {
			rej := attest.Reject(attest.CheckTokenVerdict, "submodule %.64q is appraised %.32q", name, status)
			rej.Expected, rej.Got = affirming, status[:min(len(status), 32)]
			return rej
		}
		about := map[string]any{"name": name, "status": status}
		if id, ok := sub.text("ear.appraisal-policy-id"); ok {
			about["policy_id"] = id
		}
		vector, given := map[string]any{}, sub.object("ear.trustworthiness-vector")
		for _, n := range vectorNames() {
			if v, ok := given.integer(n); ok {
				vector[strings.ReplaceAll(n, "-", "_")] = v
			}
		}
		if len(vector) > 0 {
			about["trustworthiness"] = vector
		}
		list = append(list, about)
	}
	s.detail["submods"] = list
	return nil
}

// trustee reads what Trustee annotates beside the verdict. Its shapes have changed over
// versions, so that a value is taken only where it has the form of ours; debugging and
// migration count in every form.
func (s *statement) trustee(cpu reader) *attest.Rejection {
	evidence := cpu.object(annotated)
	for _, name := range []string{"sample", "sampledevice"} {
		if evidence.has(name) {
			return attest.Reject(attest.CheckTypeNotAllowed, "a sample attester proves nothing")
		}
	}
	for _, name := range []string{"snp", "az-snp-vtpm", "azsnpvtpm"} {
		if evidence.has(name) {
			s.claims["x-ms-attestation-type"] = maaSNP
			s.annotatedSNP(evidence.object(name))
		}
	}
	for _, name := range []string{"tdx", "az-tdx-vtpm", "aztdxvtpm"} {
		if evidence.has(name) {
			s.claims["x-ms-attestation-type"] = maaTDX
			s.annotatedTDX(evidence.object(name))
		}
	}
	if evidence.has("sgx") {
		s.claims["x-ms-attestation-type"] = maaSGX
		s.level(evidence.object("sgx"), "tcb_status")
	}
	return nil
}

func (s *statement) annotatedSNP(r reader) {
	if v, ok := hexOf(r, "measurement", 48); ok {
		s.claims[snpPrefix+"launchmeasurement"] = v
	}
	if v, ok := hexOf(r, "chip_id", 64); ok && s.subject == "" && strings.Trim(v, "0") != "" {
		s.subject = v
	}
	if on, said := flag(r, "policy_debug_allowed"); said {
		s.debug(on, true)
	}
	moves, said := flag(r, "policy_migrate_ma")
	s.migratable = s.migratable || said && moves
}

func (s *statement) annotatedTDX(r reader) {
	body := r.object("quote").object("body")
	for theirs, ours := range map[string]string{
		"mr_td": "tdx_mrtd", "rtmr_0": "tdx_rtmr0", "rtmr_1": "tdx_rtmr1", "rtmr_2": "tdx_rtmr2", "rtmr_3": "tdx_rtmr3",
		"mr_config_id": "tdx_mrconfigid", "mr_owner": "tdx_mrowner", "mr_owner_config": "tdx_mrownerconfig",
		"mr_seam": "tdx_mrseam", "mrsigner_seam": "tdx_mrsignerseam",
	} {
		if v, ok := hexOf(body, theirs, 48); ok {
			s.claims[ours] = v
		}
	}
	if v, ok := hexOf(body, "td_attributes", 8); ok {
		s.attributes(v)
		s.claims["tdx_td_attributes"] = v
	}
	if on, said := flag(r.object("td_attributes"), "debug"); said {
		s.debug(on, true)
	}
	s.level(r, "tcb_status")
	if s.tcb != attest.TCBUnknown {
		s.claims["attester_tcb_status"] = s.tcb
	}
}

// hexOf is size bytes of lower-case hex, or nothing.
func hexOf(r reader, name string, size int) (string, bool) {
	v := r.members[name]
	if len(v) != 2*size+2 || v.Kind() != '"' {
		return "", false
	}
	s := string(v[1 : len(v)-1])
	_, err := hex.DecodeString(s)
	return s, err == nil && s == strings.ToLower(s)
}

// flag reads a boolean that versions of Trustee write as true, "true", "1" or 1. What
// is neither that nor its opposite is on.
func flag(r reader, name string) (on, said bool) {
	if !r.has(name) {
		return false, false
	}
	switch strings.Trim(string(r.members[name]), `"`) {
	case "false", "0":
		return false, true
	}
	return true, true
}
