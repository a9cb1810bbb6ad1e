# what a release policy in Azure's JSON grammar means
package release

default allow := false

# anyOf[0]
allow if {
	trim_suffix(input.evidence.authority, "/") == "https://sharedeus.eus.attest.azure.net"
	input.claims["x-ms-sgx-is-debuggable"] in {"false", false}
	input.claims["x-ms-sgx-mrsigner"] == "83d719e77deaca1470f6baf62a4d774303c899db69020f9c70ee1dfc08c7ce9e"
	input.claims["x-ms-sgx-product-id"] in {"4639", 4639}
	number(input.claims["x-ms-sgx-svn"]) > 1
}

number(x) := x if is_number(x)

number(x) := to_number(x) if {
	is_string(x)
	count(x) <= 40
	regex.match("^-?(0|[1-9][0-9]*)([.][0-9]+)?$", x)
}
