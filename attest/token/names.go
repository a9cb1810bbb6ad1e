package token

import "strings"

// valueType is the type that a claim must have.
type valueType int

const (
	text valueType = iota
	boolean
	integer
	integers
	texts
	hex16 // lower-case hex of so many digits
	hex32
	hex64
	hex96
	hex128
)

// size is the length of a hex type in bytes, 0 of others.
func (t valueType) size() int {
	switch t {
	case hex16:
		return 8
	case hex32:
		return 16
	case hex64:
		return 32
	case hex96:
		return 48
	case hex128:
		return 64
	}
	return 0
}

// claim is one member that is passed on: its name with Azure Attestation, and type.
type claim struct {
	name string
	typ  valueType
}

// copyClaims takes what is listed, and nothing else.
func copyClaims(to map[string]any, r reader, list []claim) {
	for _, c := range list {
		if v, ok := c.value(r); ok {
			to[c.name] = v
		}
	}
}

func (c claim) value(r reader) (any, bool) {
	switch c.typ {
	case text:
		return found(r.text(c.name))
	case boolean:
		return found(r.boolean(c.name))
	case integer:
		return found(r.integer(c.name))
	case integers:
		if !r.has(c.name) {
			return nil, false
		}
		return list(r.integers(c.name)), true
	case texts:
		if !r.has(c.name) {
			return nil, false
		}
		return list(r.texts(c.name)), true
	}
	return found(r.hex(c.name, c.typ.size()))
}

func found[T any](v T, ok bool) (any, bool) { return v, ok }

func list[T any](in []T) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = v
	}
	return out
}

// Names of Azure Attestation, in wire.md's order of types.

func maaNames() []claim {
	return []claim{{"x-ms-attestation-type", text}, {"x-ms-compliance-status", text}, {"x-ms-policy-hash", text}}
}

const snpPrefix = "x-ms-sevsnpvm-"

func snpNames() []claim {
	return []claim{
		{snpPrefix + "authorkeydigest", hex96},
		{snpPrefix + "bootloader-svn", integer},
		{snpPrefix + "tee-svn", integer},
		{snpPrefix + "snpfw-svn", integer},
		{snpPrefix + "microcode-svn", integer},
		{snpPrefix + "familyId", hex32},
		{snpPrefix + "imageId", hex32},
		{snpPrefix + "guestsvn", integer},
		{snpPrefix + "hostdata", hex64},
		{snpPrefix + "idkeydigest", hex96},
		{snpPrefix + "is-debuggable", boolean},
		{snpPrefix + "launchmeasurement", hex96},
		{snpPrefix + "migration-allowed", boolean},
		{snpPrefix + "smt-allowed", boolean},
		{snpPrefix + "reportdata", hex128},
		{snpPrefix + "reportid", hex64},
		{snpPrefix + "vmpl", integer},
	}
}

func tdxNames() []claim {
	return []claim{
		{"tdx_mrtd", hex96},
		{"tdx_rtmr0", hex96},
		{"tdx_rtmr1", hex96},
		{"tdx_rtmr2", hex96},
		{"tdx_rtmr3", hex96},
		{"tdx_mrconfigid", hex96},
		{"tdx_mrowner", hex96},
		{"tdx_mrownerconfig", hex96},
		{"tdx_mrseam", hex96},
		{"tdx_mrsignerseam", hex96},
		{"tdx_report_data", hex128},
		{"tdx_seam_attributes", hex16},
		{"tdx_td_attributes", hex16},
		{"tdx_xfam", hex16},
		{"tdx_tee_tcb_svn", hex32},
		{"tdx_seamsvn", integer},
		{"tdx_td_attributes_debug", boolean},
		{"tdx_td_attributes_septve_disable", boolean},
		{"tdx_td_attributes_protection_keys", boolean},
		{"tdx_td_attributes_key_locker", boolean},
		{"tdx_td_attributes_perfmon", boolean},
		{"attester_tcb_status", text},
		{"dbgstat", text},
	}
}

const sgxPrefix = "x-ms-sgx-"

func sgxNames() []claim {
	return []claim{
		{sgxPrefix + "is-debuggable", boolean},
		{sgxPrefix + "product-id", integer},
		{sgxPrefix + "svn", integer},
		{sgxPrefix + "mrenclave", hex64},
		{sgxPrefix + "mrsigner", hex64},
		{sgxPrefix + "report-data", hex128},
		{sgxPrefix + "config-id", hex128},
		{sgxPrefix + "config-svn", integer},
		{sgxPrefix + "isv-extended-product-id", hex32},
		{sgxPrefix + "isv-family-id", hex32},
	}
}

const vmPrefix = "x-ms-azurevm-"

// vmNames is what Azure Attestation derives from the quoted PCRs and the event log.
func vmNames() []claim {
	out := []claim{
		{"secureboot", boolean},
		{vmPrefix + "attestation-protocol-ver", text},
		{vmPrefix + "attested-pcrs", integers},
		{vmPrefix + "hvci-policy", integer},
		{vmPrefix + "vmid", text},
	}
	for _, name := range strings.Fields(`bootdebug-enabled kerneldebug-enabled hypervisordebug-enabled testsigning-enabled
		flightsigning-enabled dbvalidated dbxvalidated default-securebootkeysvalidated debuggersdisabled signingdisabled
		elam-enabled is-windows`) {
		out = append(out, claim{vmPrefix + name, boolean})
	}
	return out
}

// clientNames is what the guest says of itself and nothing proves.
func clientNames() []claim {
	return []claim{
		{vmPrefix + "osdistro", text},
		{vmPrefix + "ostype", text},
		{vmPrefix + "osbuild", text},
		{vmPrefix + "osversion-major", integer},
		{vmPrefix + "osversion-minor", integer},
	}
}

// vmConfiguration is what the paravisor of an Azure VM says, in data that the hardware
// report covers.
func vmConfiguration() []claim {
	return []claim{
		{"console-enabled", boolean},
		{"current-time", integer},
		{"secure-boot", boolean},
		{"secure-boot-template-id", text},
		{"tpm-enabled", boolean},
		{"tpm-persisted", boolean},
		{"vmUniqueId", text},
	}
}
