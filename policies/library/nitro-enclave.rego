# title: AWS Nitro enclave of a known image and signer
# threat: The parent instance starts another enclave image than the one you built and signed, and asks for the key.
#
# References, in the set "enclave" (rename it below to your own): nitro-pcr0, the image,
# and nitro-pcr8, the certificate that signed it, each a table of values (96 hex digits).
package release

default allow := false

allow if {
	input.evidence.type == "nitro"
	input.evidence.freshness == "nonce"
	known("nitro-pcr0", input.claims.nitro.pcrs["0"])
	known("nitro-pcr8", input.claims.nitro.pcrs["8"])
}

# A value is known when the set lists it and its time has not run out.
known(kind, value) if in_time(data.references.enclave[kind][value])

in_time(entry) if object.get(entry, "until", 0) == 0

in_time(entry) if entry.until > input.request.time
