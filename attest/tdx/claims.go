package tdx

import (
	"crypto/sha256"
	"strconv"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/dcap"
)

// claims are what quote and collateral prove: flat under the names of Microsoft Azure
// Attestation, bytes in memory order; typed detail under tdx.
func (r *report) claims(version uint16, a *dcap.Appraisal) attest.Claims {
	c := attest.Claims{
		"x-ms-attestation-type":             "tdxvm",
		"eat_profile":                       "https://aka.ms/maa-eat-profile-tdxvm",
		"intuse":                            "generic",
		"dbgstat":                           "disabled",
		"tdx_mrtd":                          hexa(r.mrTD),
		"tdx_mrconfigid":                    hexa(r.mrConfigID),
		"tdx_mrowner":                       hexa(r.mrOwner),
		"tdx_mrownerconfig":                 hexa(r.mrOwnerConfig),
		"tdx_mrseam":                        hexa(r.mrSeam),
		"tdx_mrsignerseam":                  hexa(r.mrSignerSeam),
		"tdx_report_data":                   hexa(r.reportData),
		"tdx_seam_attributes":               hexa(r.seamAttributes),
		"tdx_td_attributes":                 hexa(r.tdAttributes),
		"tdx_xfam":                          hexa(r.xfam),
		"tdx_tee_tcb_svn":                   hexa(r.tcbSVN),
		"tdx_seamsvn":                       int64(r.tcbSVN[0]),
		"tdx_td_attributes_debug":           false,
		"tdx_td_attributes_septve_disable":  r.has(septVEDisable),
		"tdx_td_attributes_protection_keys": r.has(protectionKey),
		"tdx_td_attributes_key_locker":      r.has(keyLocker),
		"tdx_td_attributes_perfmon":         r.has(perfmon),
		"tdx":                               r.native(version, a),
	}
	for i, v := range r.rtmr {
		c["tdx_rtmr"+strconv.Itoa(i)] = hexa(v)
	}
	if a.TCB.Status != attest.TCBUnknown {
		c["attester_tcb_status"] = a.TCB.Status
	}
	return c
}

func (r *report) native(version uint16, a *dcap.Appraisal) map[string]any {
	ppid := sha256.Sum256(a.PCK.PPID[:])
	tdx := map[string]any{
		"version":     int64(version),
		"mrtd":        hexa(r.mrTD),
		"tee_tcb_svn": hexa(r.tcbSVN),
		"fmspc":       a.PCK.FMSPCHex(),
		"pceid":       hexa(a.PCK.PCEID[:]),
		"ppid_hash":   hexa(ppid[:]),
		"attributes": map[string]any{
			"debug": false, "lass": r.has(lass), "sept_ve_disable": r.has(septVEDisable), "migratable": r.has(migratable),
			"pks": r.has(protectionKey), "kl": r.has(keyLocker), "perfmon": r.has(perfmon),
		},
		"tcb":      a.TCB.Claims(),
		"eventlog": map[string]any{"present": false, "complete": false, "unexplained": []any{}},
	}
	for i, v := range r.rtmr {
		tdx["rtmr"+strconv.Itoa(i)] = hexa(v)
	}
	if r.mrServiceTD != nil {
		tdx["tee_tcb_svn2"], tdx["mrservicetd"] = hexa(r.tcbSVN2), hexa(r.mrServiceTD)
	}
	if r.vmid != nil {
		tdx["vmid"], tdx["td_id"], tdx["dev_info"] = int64(r.vmid[0]), hexa(r.tdID), hexa(r.devInfo)
	}
	return tdx
}
