# title: Google Compute Engine instance of one project, with secure boot
# threat: An instance of somebody else's project, or one of yours with another boot chain, asks for the key.
#
# Put your project into the two lines below. References, in the set "boot" (rename it
# to your own): pcr4, pcr7, pcr8, pcr9, pcr11, pcr12 and pcr14, each a table of SHA-256
# values in lower-case hex. A Shielded VM's vTPM trusts Google; for a Confidential VM
# add a condition on input.claims.snp.measurement or input.claims.tdx_mrtd.
package release

default allow := false

allow if {
	input.evidence.type == "gce"
	input.evidence.freshness == "nonce"
	input.claims.gce.project_id == "my-project"
	input.claims.gce.project_number == "123456789012"
	input.claims.secureboot == true
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
