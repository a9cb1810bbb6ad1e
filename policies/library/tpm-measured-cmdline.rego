# title: Secure boot and an approved kernel command line
# threat: Somebody edits the kernel command line (init=/bin/sh, another root, a debugger) of an otherwise genuine image.
#
# For images whose command line you know by its text and not by its PCR value.
# The claim boot.cmdline exists only when the event log explains PCR 8 and 12 and
# exactly one loader measured exactly one command line.
#
# References, in the set "boot": cmdline, a table of whole command lines, and
# pcr4, pcr7, pcr9, pcr11, tables of SHA-256 values.
package release

default allow := false

allow if {
	input.evidence.type == "tpm"
	input.evidence.freshness == "nonce"
	input.claims.secureboot == true
	input.claims.tpm.eventlog.complete == true
	boot_is_known
	command_line_is_measured
	known("cmdline", input.claims.boot.cmdline)
}

boot_is_known if {
	every index in ["4", "7", "9", "11"] {
		known(concat("", ["pcr", index]), input.claims.tpm.pcrs.sha256[index])
	}
}

command_line_is_measured if {
	unexplained := input.claims.tpm.eventlog.unexplained
	every index in ["8", "12"] {
		is_string(input.claims.tpm.pcrs.sha256[index])
		not to_number(index) in unexplained
	}
}

# A value is known when the set lists it and its time has not run out.
known(kind, value) if in_time(data.references.boot[kind][value])

in_time(entry) if object.get(entry, "until", 0) == 0

in_time(entry) if entry.until > input.request.time
