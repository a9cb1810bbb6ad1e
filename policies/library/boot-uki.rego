# title: Unattended boot of a unified kernel image
# threat: Whoever holds the disk or runs the host boots it with another image, command line or extension, or asks for its key a second time.
#
# For the key of a disk. PCR 4, 7 and 11 must be known values; 8, 12, 13 and 15 must be
# zero; what the event log cannot explain is refused. docs/pcrs.md says what stands in
# each. Secure boot is judged by the value of PCR 7, so that a machine without it needs
# a value of its own, with a label that says so.
#
# References, in the set "boot" (rename it below to your own): pcr4 and pcr11, as
# "openskr reference from-uki" computes them, and pcr7, from a machine that is known to
# be good ("openskr reference from-evidence --kinds pcr7"). For Azure snp-id-key as well,
# and for Google your project number in the line below. Where PCR 4 and 7 cannot be told
# before, and you sign your images: boot-uki-signed.
package release

default allow := false

zero := "0000000000000000000000000000000000000000000000000000000000000000"

# PCR 9 is the kernel's own account of command line and initrd. It must be in the quote, so
# that the log's account of it is judged below; its value is where the set has some.
allow if {
	input.evidence.freshness == "nonce"
	machine_is_ours
	every index, _ in known_if {
		known(concat("", ["pcr", index]), input.claims.tpm.pcrs.sha256[index])
	}
	every index, _ in zero_unless {
		input.claims.tpm.pcrs.sha256[index] == zero
	}
	is_string(input.claims.tpm.pcrs.sha256["9"])
	is_array(input.claims.tpm.eventlog.unexplained)
	every index, _ in known_once_listed {
		unlisted_or_known(index)
	}
}

# The machine that builds images makes the disk. Each time needs `openskr key grant-format`
# besides, so that this may stay here.
allow if builder

builder if {
	input.request.purpose == "format"
	input.evidence.type == "tpm"
	input.evidence.freshness == "nonce"
	input.machine.labels.role == "image-builder"
}

machine_is_ours if {
	input.evidence.type == "tpm"
	input.machine.enrolled == true
}

machine_is_ours if {
	input.evidence.type == "azure-cvm"
	known("snp-id-key", input.claims.snp.id_key_digest)
}

machine_is_ours if {
	input.evidence.type == "gce"
	input.claims.gce.project_number == "123456789012"
}

known_if := {
	"4": "another image or boot loader was started, or the firmware tried something else before it",
	"7": "secure boot was switched on or off, or its keys or the signer of the image are others",
	"11": "kernel, initrd or built-in command line are those of another image, or the boot is in another phase",
}

zero_unless := {
	"8": "a boot loader such as GRUB ran before the image",
	"12": "load options were given: a command line, credentials or add-ons from outside of the image",
	"13": "system extensions were put beside the image",
	"15": "this machine has already opened its disk: it must boot again to ask again",
}

deny contains sprintf("PCR %s has no known value: %s", [index, why]) if {
	not builder
	some index, why in known_if
	value := input.claims.tpm.pcrs.sha256[index]
	not known(concat("", ["pcr", index]), value)
}

deny contains sprintf("PCR %s is not zero: %s", [index, why]) if {
	not builder
	some index, why in zero_unless
	value := input.claims.tpm.pcrs.sha256[index]
	value != zero
}

# Linux extends 10 (files, with IMA) and systemd 11 and 15 without an event in this log.
silent := {10, 11, 15}

deny contains sprintf("PCR %d has a value that the event log does not explain", [index]) if {
	not builder
	some index in input.claims.tpm.eventlog.unexplained
	not index in silent
}

# These are judged by value once the set has values of them (openskr reference
# from-evidence --kinds pcr9). PCR 9 needs that with a systemd-stub of April 2026 or later,
# which adds an initrd that whoever starts the machine hands it, measured by the kernel
# alone, here. PCR 1 has the ACPI tables of a virtual machine, with code of the host's that
# the kernel runs; it differs between shapes of machines (docs/pcrs.md).
known_once_listed := {
	"1": "ACPI tables, boot order or settings of the firmware are others",
	"9": "the kernel got another initrd or command line",
}

unlisted_or_known(index) if not listed(index)

unlisted_or_known(index) if known(concat("", ["pcr", index]), input.claims.tpm.pcrs.sha256[index])

listed(index) if data.references.boot[concat("", ["pcr", index])]

deny contains sprintf("PCR %s has no known value: %s", [index, why]) if {
	not builder
	some index, why in known_once_listed
	value := input.claims.tpm.pcrs.sha256[index]
	listed(index)
	not known(concat("", ["pcr", index]), value)
}

# A value is known when the set lists it and its time has not run out.
known(kind, value) if in_time(data.references.boot[kind][value])

in_time(entry) if object.get(entry, "until", 0) == 0

in_time(entry) if entry.until > input.request.time
