# what a release policy in Azure's JSON grammar means
package release

default allow := false

# anyOf[0]
allow if {
	trim_suffix(input.evidence.authority, "/") == "https://sharedeus2.eus2.attest.azure.net"
	input.claims["x-ms-attestation-type"] == "sevsnpvm"
	input.claims["x-ms-compliance-status"] == "azure-compliant-uvm"
	input.claims["x-ms-sevsnpvm-hostdata"] == "73973b78d70cc68353426de188db5dfc57e5b766e399935fb73a61127ea26d20"
	input.claims["x-ms-sevsnpvm-is-debuggable"] in {"false", false}
	input.claims["x-ms-sevsnpvm-vmpl"] in {"0", 0}
}
