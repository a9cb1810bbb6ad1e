# title: SEV-SNP machine of a known launch on known chips
# threat: A host starts another image than the one you built, on a processor that is not yours or runs old firmware, and asks for the key.
#
# References, in the set "web" (rename it below to your own): snp-measurement, a table
# of launch digests (96 hex digits), and chip, a table of chip ids (128). Raise the TCB
# levels below to those of your fleet; they are AMD's component numbers, compared one
# by one.
package release

default allow := false

allow if {
	input.evidence.type == "snp"
	input.evidence.freshness == "nonce"
	known("snp-measurement", input.claims.snp.measurement)
	known("chip", input.claims.snp.chip_id)
	input.claims.snp.vmpl == 0
	firmware_is_recent
}

# The age is that of AMD's revocation list, which is issued for a year.
firmware_is_recent if {
	input.evidence.collateral_age <= 366 * 24 * 60 * 60
	every part, least in minimum {
		input.claims.snp.tcb.reported[part] >= least
	}
}

minimum := {"boot_loader": 4, "tee": 0, "snp": 24, "microcode": 219}

# A value is known when the set lists it and its time has not run out.
known(kind, value) if in_time(data.references.web[kind][value])

in_time(entry) if object.get(entry, "until", 0) == 0

in_time(entry) if entry.until > input.request.time
