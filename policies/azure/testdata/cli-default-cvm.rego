# what a release policy in Azure's JSON grammar means
package release

default allow := false

# anyOf[0]
allow if {
	trim_suffix(input.evidence.authority, "/") == "https://sharedeus.eus.attest.azure.net"
	input.claims["x-ms-attestation-type"] == "sevsnpvm"
	input.claims["x-ms-compliance-status"] == "azure-compliant-cvm"
}

# anyOf[1]
allow if {
	trim_suffix(input.evidence.authority, "/") == "https://sharedneu.neu.attest.azure.net"
	input.claims["x-ms-attestation-type"] == "sevsnpvm"
	input.claims["x-ms-compliance-status"] == "azure-compliant-cvm"
}
