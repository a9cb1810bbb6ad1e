package tdx

import (
	"strconv"

	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/attest/schema"
)

// Schema is the JSON schema of the claims of TDX evidence. docs/claims.md says what
// each claim means.
func Schema() map[string]any {
	claims, native := map[string]any{}, map[string]any{}
	for _, name := range []string{
		"x-ms-attestation-type", "eat_profile", "intuse", "dbgstat", "attester_tcb_status",
		"tdx_mrtd", "tdx_mrconfigid", "tdx_mrowner", "tdx_mrownerconfig", "tdx_mrseam", "tdx_mrsignerseam", "tdx_report_data",
		"tdx_seam_attributes", "tdx_td_attributes", "tdx_xfam", "tdx_tee_tcb_svn",
	} {
		claims[name] = schema.Text()
	}
	for _, name := range []string{"debug", "septve_disable", "protection_keys", "key_locker", "perfmon"} {
		claims["tdx_td_attributes_"+name] = schema.Bool()
	}
	claims["tdx_seamsvn"] = schema.Int()
	for _, name := range []string{"mrtd", "tee_tcb_svn", "tee_tcb_svn2", "mrservicetd", "td_id", "dev_info", "fmspc", "pceid", "ppid_hash"} {
		native[name] = schema.Text()
	}
	for i := range registers {
		claims["tdx_rtmr"+strconv.Itoa(i)], native["rtmr"+strconv.Itoa(i)] = schema.Text(), schema.Text()
	}
	attributes := map[string]any{}
	for _, name := range []string{"debug", "lass", "sept_ve_disable", "migratable", "pks", "kl", "perfmon"} {
		attributes[name] = schema.Bool()
	}
	native["version"], native["vmid"], native["attributes"], native["tcb"] = schema.Int(), schema.Int(), schema.Object(attributes), dcap.Schema()
	native["eventlog"] = schema.Object(map[string]any{
		"present": schema.Bool(), "complete": schema.Bool(), "unexplained": schema.Array(schema.Int()),
	})
	claims["tdx"] = schema.Object(native)
	return schema.Object(claims)
}
