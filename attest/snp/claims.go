package snp

import (
	"encoding/hex"

	"github.com/openskr/openskr/attest/schema"
)

// Bits of POLICY (SEV-SNP ABI, table 9).
const (
	policySMT              = 1 << 16
	policyReservedOne      = 1 << 17
	policyMigrateMA        = 1 << 18
	policyDebug            = 1 << 19
	policySingleSocket     = 1 << 20
	policyCXL              = 1 << 21
	policyAES256XTS        = 1 << 22
	policyRAPLDis          = 1 << 23
	policyCiphertextHiding = 1 << 24
	policyPageSwapDisable  = 1 << 25

	policyKnown = 1<<26 - 1
)

// bit is one flag by the name of its claim.
type bit struct {
	mask uint64
	name string
}

func policyBits() []bit {
	return []bit{
		{policySMT, "smt"},
		{policyMigrateMA, "migrate_ma"},
		{policyDebug, "debug"},
		{policySingleSocket, "single_socket"},
		{policyCXL, "cxl"},
		{policyAES256XTS, "aes_256_xts"},
		{policyRAPLDis, "rapl_dis"},
		{policyCiphertextHiding, "ciphertext_hiding"},
		{policyPageSwapDisable, "page_swap_disable"},
	}
}

// platformBits are those of PLATFORM_INFO that have a published meaning. Others, which
// firmware to come may set, say nothing here.
func platformBits() []bit {
	return []bit{
		{1 << 0, "smt"},
		{1 << 1, "tsme"},
		{1 << 2, "ecc"},
		{1 << 3, "rapl_dis"},
		{1 << 4, "ciphertext_hiding"},
		{1 << 5, "alias_check_complete"},
		{1 << 6, "iommu_write_safe"},
		{1 << 7, "tio"},
	}
}

func flags(word uint64, bits []bit) map[string]any {
	out := map[string]any{}
	for _, b := range bits {
		out[b.name] = word&b.mask != 0
	}
	return out
}

// claims are Azure Attestation's (wire names of SevSnpVm), and everything the report
// says under snp.
func (r *report) claims(c *chain, t *tcbs) map[string]any {
	l := t.reported
	return map[string]any{
		"x-ms-attestation-type":           "sevsnpvm",
		"x-ms-sevsnpvm-authorkeydigest":   hex.EncodeToString(r.authorKeyDigest),
		"x-ms-sevsnpvm-bootloader-svn":    int64(l.bootLoader),
		"x-ms-sevsnpvm-tee-svn":           int64(l.tee),
		"x-ms-sevsnpvm-snpfw-svn":         int64(l.snp),
		"x-ms-sevsnpvm-microcode-svn":     int64(l.microcode),
		"x-ms-sevsnpvm-familyId":          hex.EncodeToString(r.familyID),
		"x-ms-sevsnpvm-imageId":           hex.EncodeToString(r.imageID),
		"x-ms-sevsnpvm-guestsvn":          int64(r.guestSVN),
		"x-ms-sevsnpvm-hostdata":          hex.EncodeToString(r.hostData),
		"x-ms-sevsnpvm-idkeydigest":       hex.EncodeToString(r.idKeyDigest),
		"x-ms-sevsnpvm-is-debuggable":     r.policy&policyDebug != 0,
		"x-ms-sevsnpvm-launchmeasurement": hex.EncodeToString(r.measurement),
		"x-ms-sevsnpvm-migration-allowed": r.policy&policyMigrateMA != 0,
		"x-ms-sevsnpvm-smt-allowed":       r.policy&policySMT != 0,
		"x-ms-sevsnpvm-reportdata":        hex.EncodeToString(r.reportData),
		"x-ms-sevsnpvm-reportid":          hex.EncodeToString(r.reportID),
		"x-ms-sevsnpvm-vmpl":              int64(r.vmpl),
		"snp":                             r.native(c, t),
	}
}

// native is the claim snp.
func (r *report) native(c *chain, t *tcbs) map[string]any {
	line := c.product.Name
	policy := flags(r.policy, policyBits())
	policy["abi_minor"], policy["abi_major"] = int64(r.policy&0xff), int64(r.policy>>8&0xff)
	out := map[string]any{
		"version": int64(r.version), "product": line, "signer": c.leaf.key.String(),
		"vmpl": int64(r.vmpl), "guest_svn": int64(r.guestSVN), "policy": policy,
		"platform_info": flags(r.platformInfo, platformBits()), "tcb": t.claims(line),
		"provisional":   r.current != r.committed || r.currentFW != r.committedFW,
		"firmware":      map[string]any{"current": firmware(r.currentFW), "committed": firmware(r.committedFW)},
		"measurement":   hex.EncodeToString(r.measurement),
		"host_data":     hex.EncodeToString(r.hostData),
		"report_data":   hex.EncodeToString(r.reportData),
		"report_id":     hex.EncodeToString(r.reportID),
		"report_id_ma":  hex.EncodeToString(r.reportIDMA),
		"family_id":     hex.EncodeToString(r.familyID),
		"image_id":      hex.EncodeToString(r.imageID),
		"id_key_digest": hex.EncodeToString(r.idKeyDigest),
		"author_key_en": r.authorKeyEn, "author_key_digest": hex.EncodeToString(r.authorKeyDigest),
		"mask_chip_key": r.maskChipKey,
	}
	if c.leaf.key == VLEK {
		out["csp_id"] = c.leaf.csp
	} else {
		out["chip_id"] = hex.EncodeToString(r.chipID)
	}
	if r.version >= 3 {
		out["cpu"] = map[string]any{"family": int64(r.cpu[0]), "model": int64(r.cpu[1]), "stepping": int64(r.cpu[2])}
	}
	if r.version >= 5 {
		out["launch_mitigation_vector"], out["current_mitigation_vector"] = r.launchMit, r.currentMit
	}
	return out
}

// firmware is a version as the report has it: build, minor, major.
func firmware(v [3]byte) map[string]any {
	return map[string]any{"major": int64(v[2]), "minor": int64(v[1]), "build": int64(v[0])}
}

// Schema is the JSON schema of the claims of SNP evidence. docs/claims.md says what
// each means.
func Schema() map[string]any {
	top := map[string]any{"snp": nativeSchema()}
	for _, name := range []string{"launchmeasurement", "hostdata", "reportdata", "reportid", "idkeydigest", "authorkeydigest", "familyId", "imageId"} {
		top["x-ms-sevsnpvm-"+name] = schema.Text()
	}
	for _, name := range []string{"bootloader-svn", "tee-svn", "snpfw-svn", "microcode-svn", "guestsvn", "vmpl"} {
		top["x-ms-sevsnpvm-"+name] = schema.Int()
	}
	for _, name := range []string{"is-debuggable", "migration-allowed", "smt-allowed"} {
		top["x-ms-sevsnpvm-"+name] = schema.Bool()
	}
	top["x-ms-attestation-type"] = schema.Text()
	return schema.Object(top)
}

func nativeSchema() map[string]any {
	policy := members(schema.Bool(), names(policyBits())...)
	policy["abi_major"], policy["abi_minor"] = schema.Int(), schema.Int()
	levels := schema.Object(members(schema.Int(), "boot_loader", "tee", "snp", "microcode", "fmc"))
	version := schema.Object(members(schema.Int(), "major", "minor", "build"))
	native := members(schema.Text(), "product", "signer", "chip_id", "csp_id", "measurement", "host_data", "report_data", "report_id",
		"report_id_ma", "family_id", "image_id", "id_key_digest", "author_key_digest")
	for _, name := range []string{"version", "vmpl", "guest_svn", "launch_mitigation_vector", "current_mitigation_vector"} {
		native[name] = schema.Int()
	}
	for _, name := range []string{"provisional", "author_key_en", "mask_chip_key"} {
		native[name] = schema.Bool()
	}
	native["policy"] = schema.Object(policy)
	native["platform_info"] = schema.Object(members(schema.Bool(), names(platformBits())...))
	native["tcb"] = schema.Object(members(levels, "reported", "current", "committed", "launch"))
	native["firmware"] = schema.Object(members(version, "current", "committed"))
	native["cpu"] = schema.Object(members(schema.Int(), "family", "model", "stepping"))
	return schema.Object(native)
}

// members are properties of one type.
func members(typ map[string]any, names ...string) map[string]any {
	out := map[string]any{}
	for _, n := range names {
		out[n] = typ
	}
	return out
}

func names(bits []bit) []string {
	var out []string
	for _, b := range bits {
		out = append(out, b.name)
	}
	return out
}
