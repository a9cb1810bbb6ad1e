# title: No rolled-back or resumed TPM
# threat: A snapshot of a virtual TPM, old TPM firmware, or a machine that was suspended and resumed brings back a state you trusted once.
#
# The TPM must vouch that its clock was never set back (safe), must not have been
# resumed since it booted (restart_count), must have booted at least as often as
# the key's tag "min_reset_count" says, when there is one, and must run known
# firmware. The broker refuses a reset count below the highest seen by itself.
#
# References, in the set "boot": tpm_firmware, a table of firmware versions, and
# pcr4, pcr7, pcr8, pcr9, pcr11, pcr12, pcr14.
package release

default allow := false

allow if {
	input.evidence.type == "tpm"
	input.evidence.freshness == "nonce"
	input.claims.secureboot == true
	boot_is_known
	known("tpm_firmware", input.claims.tpm.firmware_version)
	input.claims.tpm.clock.safe == true
	input.claims.tpm.clock.restart_count == 0
	input.claims.tpm.clock.reset_count >= to_number(object.get(input.key.tags, "min_reset_count", "0"))
}

boot_is_known if {
	every index in ["4", "7", "8", "9", "11", "12", "14"] {
		known(concat("", ["pcr", index]), input.claims.tpm.pcrs.sha256[index])
	}
}

# A value is known when the set lists it and its time has not run out.
known(kind, value) if in_time(data.references.boot[kind][value])

in_time(entry) if object.get(entry, "until", 0) == 0

in_time(entry) if entry.until > input.request.time
