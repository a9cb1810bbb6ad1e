package attestation

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"

	"github.com/openskr/openskr/attest"
)

// baselineName is x-openskr.baseline.
const baselineName = "openskr/1"

// baseline is the text whose hash is x-ms-policy-hash; docs/attestation.md explains it.
// It changes with the rules below, and gets another name then.
const baseline = `openskr/1
sevsnpvm: debug off, migration off, VMPL 0, chain not revoked -> openskr-compliant-cvm
sevsnpvm: and an ID block signed by a known key of Azure's paravisor -> azure-compliant-cvm
tdxvm: debug off, migration off, chain not revoked, TCB neither out of date nor revoked -> openskr-compliant-cvm
sgx: no status
`

// Words of x-ms-compliance-status.
const (
	// compliantAzure is Azure's own word, which the policies of Azure's clients compare.
	// It is given to what Azure gives it to, and to nothing else: a policy that names
	// this word and no measurement relies on it for who made the machine's firmware.
	compliantAzure = "azure-compliant-cvm"
	compliant      = "openskr-compliant-cvm"
)

// azureIDKeys are the ID_KEY_DIGESTs (SHA-384 of the key that signed the ID block, and
// with it the launch measurement) that reports of Azure confidential VMs have. The
// processor checks that signature at launch.
var azureIDKeys = []string{
	"934f68bd8ba01938eec21475c872e3a942b60c59fafc6df9e9a76ee66bc47f2d09c676f61c0315c578da26085fb13a71", // seen on Milan
	"942fd93ebde6ea7a96efadeafc60f1c6b3d10e703b1dafd7555b92f7f3d32d0e006767648cba5b102af3d65756af4177", // seen on Genoa
}

// goodTCB are Intel's words for a TCB level that has no known hole of its own; some ask
// for care in software or configuration.
var goodTCB = []string{attest.TCBUpToDate, "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded"}

// compliance judges by the baseline; "" where it is not met or there is none.
func compliance(res *attest.Result) string {
	f := res.Facts
	if f.Debug || f.Migratable || f.Revocation != attest.Checked {
		return ""
	}
	claims := map[string]any(res.Claims)
	if tee, ok := claims["x-ms-isolation-tee"].(map[string]any); ok { // of an Azure guest, whose hardware is judged
		claims = tee
	}
	_, simulated := res.Type.Base()
	switch claims["x-ms-attestation-type"] {
	case "sevsnpvm":
		if claims["x-ms-sevsnpvm-vmpl"] != int64(0) {
			return ""
		}
		if key, ok := claims["x-ms-sevsnpvm-idkeydigest"].(string); ok && !simulated && slices.Contains(azureIDKeys, key) {
			return compliantAzure
		}
		return compliant
	case "tdxvm":
		if slices.Contains(goodTCB, f.TCBStatus) {
			return compliant
		}
	}
	return ""
}

// policyHash is that of the baseline, by Azure's formula (wire format: §5.7).
func policyHash() string {
	b64 := base64.RawURLEncoding
	sum := sha256.Sum256([]byte(b64.EncodeToString([]byte(baseline))))
	return b64.EncodeToString(sum[:])
}
