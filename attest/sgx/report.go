package sgx

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/attest/schema"
)

// report is the REPORT of an enclave in a quote (SDM vol. 3D, REPORT body; offsets in
// bytes). Its slices point into the quote.
type report struct {
	cpuSVN, extProductID, mrEnclave, mrSigner, configID, familyID, reportData []byte

	miscSelect                   uint32
	flags, xfrm                  uint64
	productID, isvSVN, configSVN uint16
}

// readReport takes apart a body whose length package dcap checked.
func readReport(b []byte) *report {
	le := binary.LittleEndian
	return &report{
		cpuSVN: b[0:16], miscSelect: le.Uint32(b[16:]), extProductID: b[32:48],
		flags: le.Uint64(b[48:]), xfrm: le.Uint64(b[56:]), mrEnclave: b[64:96], mrSigner: b[128:160],
		configID: b[192:256], productID: le.Uint16(b[256:]), isvSVN: le.Uint16(b[258:]), configSVN: le.Uint16(b[260:]),
		familyID: b[304:320], reportData: b[320:384],
	}
}

// Bits of ATTRIBUTES.FLAGS.
const (
	flagInit         = 1 << 0
	flagDebug        = 1 << 1
	flag64Bit        = 1 << 2
	flagProvisionKey = 1 << 4
	flagTokenKey     = 1 << 5
	flagKSS          = 1 << 7

	flagsKnown = flagInit | flagDebug | flag64Bit | flagProvisionKey | flagTokenKey | 1<<6 /* CET */ | flagKSS | 1<<10 /* AEX notify */
)

// judge refuses an enclave that anyone can read, and flags unknown here.
func (r *report) judge() *attest.Rejection {
	switch {
	case r.flags&flagDebug != 0:
		return attest.Reject(attest.CheckDebug, "enclave attributes %016x: debug", r.flags)
	case r.flags&flagInit == 0 || r.flags&^flagsKnown != 0:
		return attest.Reject(attest.CheckPlatformBits, "enclave attributes %016x: not initialised, or with bits unknown here", r.flags)
	}
	return nil
}

// claims are what quote and collateral prove: flat under the names of Microsoft Azure
// Attestation, typed detail under sgx.
func (r *report) claims(version uint16, a *dcap.Appraisal) attest.Claims {
	ppid := sha256.Sum256(a.PCK.PPID[:])
	c := attest.Claims{
		"x-ms-attestation-type":  "sgx",
		"x-ms-sgx-is-debuggable": false,
		"x-ms-sgx-product-id":    int64(r.productID),
		"x-ms-sgx-svn":           int64(r.isvSVN),
		"x-ms-sgx-mrenclave":     hex.EncodeToString(r.mrEnclave),
		"x-ms-sgx-mrsigner":      hex.EncodeToString(r.mrSigner),
		"x-ms-sgx-report-data":   hex.EncodeToString(r.reportData),
		"sgx": map[string]any{
			"version":       int64(version),
			"cpu_svn":       hex.EncodeToString(r.cpuSVN),
			"attributes":    hex.EncodeToString(binary.BigEndian.AppendUint64(nil, r.flags)),
			"xfrm":          hex.EncodeToString(binary.BigEndian.AppendUint64(nil, r.xfrm)),
			"miscselect":    int64(r.miscSelect),
			"fmspc":         a.PCK.FMSPCHex(),
			"pceid":         hex.EncodeToString(a.PCK.PCEID[:]),
			"ppid_hash":     hex.EncodeToString(ppid[:]),
			"provision_key": r.flags&flagProvisionKey != 0,
			"kss":           r.flags&flagKSS != 0,
			"tcb":           a.TCB.Claims(),
		},
	}
	if r.flags&flagKSS != 0 { // otherwise the hardware leaves these fields to the enclave's builder
		c["x-ms-sgx-config-id"] = hex.EncodeToString(r.configID)
		c["x-ms-sgx-config-svn"] = int64(r.configSVN)
		c["x-ms-sgx-isv-extended-product-id"] = hex.EncodeToString(r.extProductID)
		c["x-ms-sgx-isv-family-id"] = hex.EncodeToString(r.familyID)
	}
	return c
}

// Schema is the JSON schema of the claims of SGX evidence. docs/claims.md says what
// each claim means.
func Schema() map[string]any {
	text, tcb := schema.Text(), dcap.Schema()
	delete(tcb["properties"].(map[string]any), "module_status") // of TDX alone
	return schema.Object(map[string]any{
		"x-ms-attestation-type": text, "x-ms-sgx-is-debuggable": schema.Bool(),
		"x-ms-sgx-product-id": schema.Int(), "x-ms-sgx-svn": schema.Int(), "x-ms-sgx-config-svn": schema.Int(),
		"x-ms-sgx-mrenclave": text, "x-ms-sgx-mrsigner": text, "x-ms-sgx-report-data": text,
		"x-ms-sgx-config-id": text, "x-ms-sgx-isv-extended-product-id": text, "x-ms-sgx-isv-family-id": text,
		"sgx": schema.Object(map[string]any{
			"version": schema.Int(), "cpu_svn": text, "attributes": text, "xfrm": text, "miscselect": schema.Int(),
			"fmspc": text, "pceid": text, "ppid_hash": text,
			"provision_key": schema.Bool(), "kss": schema.Bool(), "tcb": tcb,
		}),
	})
}
