# what a release policy in Azure's JSON grammar means
package release

default allow := false

# anyOf[0]
allow if {
	trim_suffix(input.evidence.authority, "/") == "https://sharedweu.weu.attest.azure.net"
	claim_1 == "sevsnpvm"
	claim_2 == "azure-compliant-cvm"
	input.claims["secureboot"] in {"true", true}
}

# a claim of this name, or else the member of objects at this path
claim_1 := v if {
	v := input.claims["x-ms-isolation-tee.x-ms-attestation-type"]
} else := v if {
	v := input.claims["x-ms-isolation-tee"]["x-ms-attestation-type"]
}

# a claim of this name, or else the member of objects at this path
claim_2 := v if {
	v := input.claims["x-ms-isolation-tee.x-ms-compliance-status"]
} else := v if {
	v := input.claims["x-ms-isolation-tee"]["x-ms-compliance-status"]
}
