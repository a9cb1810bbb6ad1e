# title: Unattended boot of a unified kernel image that you signed
# threat: Whoever holds the disk or runs the host boots it with another command line or extension, or with a program that you did not sign, on machines whose firmware you cannot predict.
#
# boot-uki for machines where PCR 4 and 7 have no value that can be told before: updates
# of firmware and dbx, other boot orders. Secure boot must be on, and the event log must
# show that nothing was admitted but by the certificates that you list. Whatever these
# have signed counts as your image: use a key that signs unified kernel images alone,
# since any other program that it signed could write PCR 11 by itself.
#
# References, in the set "boot" (rename it below to your own): pcr11, as "openskr reference
# from-uki" computes it, and authority, the SHA-256 of your certificate (DER). For Azure
# snp-id-key as well, and for Google your project number in the line below.
package release

default allow := false

zero := "0000000000000000000000000000000000000000000000000000000000000000"

# The log's account stands for the values of 4, 7 and 9: they must be in the quote.
allow if {
	input.evidence.freshness == "nonce"
	machine_is_ours
	input.claims.secureboot == true
	input.claims.tpm.eventlog.complete == true
	only_our_signer
	known("pcr11", input.claims.tpm.pcrs.sha256["11"])
	every index, _ in zero_unless {
		input.claims.tpm.pcrs.sha256[index] == zero
	}
	every index in ["4", "7", "9"] {
		is_string(input.claims.tpm.pcrs.sha256[index])
	}
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

only_our_signer if {
	count(input.claims.secureboot_authorities) > 0
	every a in input.claims.secureboot_authorities {
		known("authority", a)
	}
	input.claims.secureboot_other_authorities == []
	input.claims.secureboot_db_hashes == []
}

zero_unless := {
	"8": "a boot loader such as GRUB ran before the image",
	"12": "load options were given: a command line, credentials or add-ons from outside of the image",
	"13": "system extensions were put beside the image",
	"15": "this machine has already opened its disk: it must boot again to ask again",
}

deny contains "secure boot is off" if {
	not builder
	on := input.claims.secureboot
	on == false
}

deny contains sprintf("something signed by another was started: authority %s", [a]) if {
	not builder
	some a in input.claims.secureboot_authorities
	not known("authority", a)
}

deny contains "PCR 11 has no known value: kernel, initrd or built-in command line are those of another image, or the boot is in another phase" if {
	not builder
	value := input.claims.tpm.pcrs.sha256["11"]
	not known("pcr11", value)
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
