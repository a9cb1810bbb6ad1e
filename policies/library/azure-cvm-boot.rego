# title: Azure confidential VM with secure boot and known PCR values
# threat: Somebody starts a confidential VM with another boot chain than yours, or beneath a paravisor that is not Microsoft's, and asks for the key.
#
# References, in the set "boot" (rename it below to your own): pcr4, pcr7, pcr8, pcr9,
# pcr11, pcr12 and pcr14, each a table of SHA-256 values in lower-case hex, and for
# SEV-SNP snp-id-key, a table of the key digests that sign Azure's paravisor (96 hex
# digits). For TDX pin mrseam and mrtd in the same way.
package release

default allow := false

allow if {
	input.evidence.type == "azure-cvm"
	input.evidence.freshness == "nonce"
	input.claims.secureboot == true
	known("snp-id-key", input.claims.snp.id_key_digest)
	boot_is_known
}

# 4 loader, 7 secure boot state, 8 and 9 what the loader read, 11 unified kernel
# image, 12 command line and other load options, 14 shim keys.
boot_is_known if {
	every index in ["4", "7", "8", "9", "11", "12", "14"] {
		known(concat("", ["pcr", index]), input.claims.tpm.pcrs.sha256[index])
	}
}

# A value is known when the set lists it and its time has not run out.
known(kind, value) if in_time(data.references.boot[kind][value])

in_time(entry) if object.get(entry, "until", 0) == 0

in_time(entry) if entry.until > input.request.time
