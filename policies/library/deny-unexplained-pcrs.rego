# title: Refuse PCRs that the event log does not explain
# threat: Something extended a PCR without an event: code that ran and left no account of itself.
#
# Says by name which PCR is not accounted for. The PCRs that your images extend
# without an event log (IMA in 10, systemd's phases in 11 and 15) are listed in
# silent and must have known values instead where they are part of the boot.
#
# References, in the set "boot": pcr4, pcr7, pcr8, pcr9, pcr11, pcr12, pcr14.
package release

default allow := false

silent := {10, 11, 15}

allow if {
	input.evidence.type == "tpm"
	input.evidence.freshness == "nonce"
	input.claims.secureboot == true
	input.claims.tpm.eventlog.present == true
	input.claims.tpm.eventlog.complete == true
	is_array(input.claims.tpm.eventlog.unexplained)
	boot_is_known
}

deny contains sprintf("PCR %d has a value that the event log does not explain", [index]) if {
	some index in input.claims.tpm.eventlog.unexplained
	not index in silent
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
