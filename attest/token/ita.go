package token

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
)

// ita is Intel Trust Authority. Tokens of version 1 are flat; those of version 2 have
// an object for each kind of evidence.
type ita struct{}

// part is the object that speaks for the CPU, and its kind with Azure's word: in a
// token of version 2 exactly one of tdx, sgx and sevsnp, else the token itself.
func (ita) part(claims object) (r reader, typ string, ok bool) {
	top := read(claims)
	for name, t := range map[string]string{"tdx": maaTDX, "sgx": maaSGX, "sevsnp": maaSNP} {
		if !top.has(name) {
			continue
		}
		if ok {
			return top, "", false
		}
		r, typ, ok = top.object(name), t, true
	}
	if ok {
		return r, typ, top.failed() == nil
	}
	switch word, _ := top.text("attester_type"); word {
	case "TDX":
		return top, maaTDX, true
	case "SGX":
		return top, maaSGX, true
	}
	return top, "", false
}

// bound: the service has checked that the report data is the hash of its own nonce and
// the data that the client held, and shows that data, as base64, or parsed where the
// client called it JSON. On Azure the data held is covered through the paravisor's
// runtime data instead, which is then what attester_runtime_data shows.
func (i ita) bound(claims object, runtimeData []byte) bool {
	r, _, ok := i.part(claims)
	if !ok {
		return false
	}
	if held, said := r.text("attester_held_data"); said {
		b, err := base64.StdEncoding.Strict().DecodeString(held)
		if err == nil && len(b) > 0 && !strings.ContainsAny(held, "\r\n") && bytes.Equal(b, runtimeData) {
			return true
		}
	}
	return equal(r.members["attester_runtime_data"], runtimeData, binding.MaxSize)
}

// nonces: the service's own nonce, as text.
func (ita) nonces(claims object) []string {
	if n, ok := read(claims).object("verifier_nonce").text("val"); ok {
		return []string{n}
	}
	return nil
}

func (i ita) appraise(claims object) (*statement, *attest.Rejection) {
	r, typ, ok := i.part(claims)
	r.as = itaName
	s := newStatement()
	if !ok || !s.hardware(s.claims, r, typ) {
		return nil, attest.Reject(attest.CheckTypeNotAllowed, "token speaks for no TDX, SGX or SEV-SNP machine, or for more than one")
	}
	s.claims["x-ms-attestation-type"] = typ
	copyClaims(s.claims, r, []claim{{"attester_tcb_status", text}})
	copyClaims(s.detail, r, itaNames())
	top := read(claims)
	copyClaims(s.detail, top, []claim{{"eat_profile", text}, {"ver", text}})
	for _, name := range []string{"policy_ids_matched", "policy_ids_unmatched"} {
		ids := []any{}
		for _, policy := range top.objects(name) {
			if id, ok := policy.text("id"); ok {
				ids = append(ids, id)
			}
		}
		if top.has(name) {
			s.detail[name] = ids
		}
	}
	for _, r := range []reader{r, top} {
		if err := r.failed(); err != nil {
			return nil, attest.Reject(attest.CheckMalformed, "token: %w", err)
		}
	}
	return s, nil
}

// itaName is what Intel calls a claim of Azure's.
func itaName(name string) string {
	switch name {
	case sgxPrefix + "product-id":
		return "sgx_isvprodid"
	case sgxPrefix + "svn":
		return "sgx_isvsvn"
	}
	if rest, ok := strings.CutPrefix(name, snpPrefix); ok {
		return "sevsnp_" + strings.ReplaceAll(rest, "-", "_")
	}
	if rest, ok := strings.CutPrefix(name, sgxPrefix); ok {
		return "sgx_" + strings.ReplaceAll(rest, "-", "_")
	}
	return name // TDX has the same names
}

func itaNames() []claim {
	return []claim{{"attester_type", text}, {"attester_tcb_date", text}, {"attester_advisory_ids", texts}}
}
