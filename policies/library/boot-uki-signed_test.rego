package release_test

import data.release

zero := "0000000000000000000000000000000000000000000000000000000000000000"

boot := {
	"pcr11": {"aa": {"label": "image 1", "until": 0}},
	"authority": {"5e": {"label": "our signer", "until": 0}},
	"snp-id-key": {"1d": {"label": "Azure", "until": 0}},
}

pcrs := {"4": "44", "7": "77", "8": zero, "9": "99", "11": "aa", "12": zero, "13": zero, "15": zero}

claims := {
	"secureboot": true,
	"secureboot_authorities": ["5e"], "secureboot_other_authorities": [], "secureboot_db_hashes": [],
	"tpm": {"pcrs": {"sha256": pcrs}, "eventlog": {"present": true, "complete": true, "unexplained": [10, 11]}},
	"snp": {"id_key_digest": "1d"}, "gce": {"project_number": "123456789012"},
}

good := {
	"request": {"time": 1000},
	"machine": {"labels": {}, "enrolled": true},
	"evidence": {"type": "tpm", "freshness": "nonce"},
	"claims": claims,
}

azure := {
	"request": {"time": 1000},
	"evidence": {"type": "azure-cvm", "freshness": "nonce"},
	"claims": claims,
}

google := {
	"request": {"time": 1000},
	"evidence": {"type": "gce", "freshness": "nonce"},
	"claims": claims,
}

test_signed_boot_is_released if {
	every machine in [good, azure, google] {
		release.allow with input as machine with data.references.boot as boot
		count(release.deny) == 0 with input as machine with data.references.boot as boot
	}
}

changed(index, value) := {i: v | some i, p in pcrs; v := {true: value, false: p}[i == index]}

test_each_pcr_counts if {
	every index in ["8", "11", "12", "13", "15"] {
		not release.allow with input as good with input.claims.tpm.pcrs.sha256 as changed(index, "ff") with data.references.boot as boot
	}
}

test_each_pcr_must_be_quoted if {
	every index, _ in pcrs {
		fewer := {i: p | some i, p in pcrs; i != index}
		not release.allow with input as good with input.claims.tpm.pcrs.sha256 as fewer with data.references.boot as boot
	}
}

test_the_reason_names_the_pcr if {
	every index, message in {
		"8": "PCR 8 is not zero: a boot loader",
		"11": "PCR 11 has no known value: kernel, initrd",
		"12": "PCR 12 is not zero: load options were given",
		"13": "PCR 13 is not zero: system extensions",
		"15": "PCR 15 is not zero: this machine has already opened its disk",
	} {
		why := release.deny with input as good with input.claims.tpm.pcrs.sha256 as changed(index, "ff") with data.references.boot as boot
		count(why) == 1
		every w in why { startswith(w, message) }
	}
}

test_without_secure_boot if {
	why := release.deny with input as good with input.claims.secureboot as false with data.references.boot as boot
	why == {"secure boot is off"}
	not release.allow with input as good with input.claims.secureboot as false with data.references.boot as boot
}

test_secure_boot_not_proven if {
	unproven := {k: v | some k, v in claims; k != "secureboot"}
	not release.allow with input as good with input.claims as unproven with data.references.boot as boot
}

test_signed_by_another if {
	why := release.deny with input as good with input.claims.secureboot_authorities as ["5e", "66"] with data.references.boot as boot
	why == {"something signed by another was started: authority 66"}
	not release.allow with input as good with input.claims.secureboot_authorities as ["5e", "66"] with data.references.boot as boot
}

test_signed_by_nobody if not release.allow with input as good with input.claims.secureboot_authorities as [] with data.references.boot as boot

test_admitted_by_shim if not release.allow with input as good with input.claims.secureboot_other_authorities as ["5e"] with data.references.boot as boot

test_admitted_by_hash if not release.allow with input as good with input.claims.secureboot_db_hashes as ["5e"] with data.references.boot as boot

test_incomplete_log if not release.allow with input as good with input.claims.tpm.eventlog.complete as false with data.references.boot as boot

test_log_was_not_read if {
	not release.allow with input as good with input.claims.tpm.eventlog as {"complete": true} with data.references.boot as boot
}

test_unexplained if {
	why := release.deny with input as good with input.claims.tpm.eventlog.unexplained as [9, 10] with data.references.boot as boot
	why == {"PCR 9 has a value that the event log does not explain"}
}

test_initrd_counts_once_listed if {
	ours := {"99": {"label": "image 1", "until": 0}}
	release.allow with input as good with data.references.boot as boot with data.references.boot.pcr9 as ours
	other := {"ee": {"label": "image 0", "until": 0}}
	why := release.deny with input as good with data.references.boot as boot with data.references.boot.pcr9 as other
	why == {"PCR 9 has no known value: the kernel got another initrd or command line"}
	not release.allow with input as good with data.references.boot as boot with data.references.boot.pcr9 as other
}

# BU-20: what the host says in ACPI tables counts where the set knows the machine's.
test_acpi_counts_once_listed if {
	ours := {"cc": {"label": "2 processors", "until": 0}}
	release.allow with input as good with input.claims.tpm.pcrs.sha256["1"] as "cc" with data.references.boot as boot with data.references.boot.pcr1 as ours
	why := release.deny with input as good with input.claims.tpm.pcrs.sha256["1"] as "ff" with data.references.boot as boot with data.references.boot.pcr1 as ours
	why == {"PCR 1 has no known value: ACPI tables, boot order or settings of the firmware are others"}
	not release.allow with input as good with input.claims.tpm.pcrs.sha256["1"] as "ff" with data.references.boot as boot with data.references.boot.pcr1 as ours
	not release.allow with input as good with data.references.boot as boot with data.references.boot.pcr1 as ours # not quoted
}

test_without_references if not release.allow with input as good with data.references as {}

test_until_is_over if {
	old := {"aa": {"label": "image 1", "until": 1000}}
	not release.allow with input as good with data.references.boot as boot with data.references.boot.pcr11 as old
}

test_until_is_not_over if {
	current := {"aa": {"label": "image 1", "until": 1001}}
	release.allow with input as good with data.references.boot as boot with data.references.boot.pcr11 as current
}

test_without_a_nonce if not release.allow with input as good with input.evidence.freshness as "none" with data.references.boot as boot

test_of_another_type if {
	every machine in [good, azure, google] {
		not release.allow with input as machine with input.evidence.type as "simulated-tpm" with data.references.boot as boot
	}
}

test_not_enrolled if not release.allow with input as good with input.machine.enrolled as false with data.references.boot as boot

test_another_paravisor if not release.allow with input as azure with input.claims.snp.id_key_digest as "ff" with data.references.boot as boot

test_another_project if not release.allow with input as google with input.claims.gce.project_number as "1" with data.references.boot as boot

builder := {
	"request": {"time": 1000, "purpose": "format"},
	"machine": {"labels": {"role": "image-builder"}, "enrolled": true},
	"evidence": {"type": "tpm", "freshness": "nonce"},
	"claims": {"tpm": {"pcrs": {"sha256": {"9": "ff", "11": "ff", "12": "ff"}}, "eventlog": {"unexplained": [4], "complete": false}}, "secureboot": false, "secureboot_authorities": ["ff"], "secureboot_other_authorities": ["CA"], "secureboot_db_hashes": ["ff"]},
}

test_the_builder_makes_disks if {
	release.allow with input as builder with data.references.boot as {"pcr9": boot.pcr11}
	count(release.deny) == 0 with input as builder with data.references.boot as {"pcr9": boot.pcr11}
}

test_the_builder_opens_none if {
	every purpose in ["unlock", "release", "token", ""] {
		not release.allow with input as builder with input.request.purpose as purpose with data.references.boot as boot
	}
	not release.allow with input as builder with input.request as {"time": 1000} with data.references.boot as boot
}

test_who_is_no_builder_makes_none_by_that_rule if {
	every machine in [{"labels": {}, "enrolled": true}, {"labels": {"role": "web"}, "enrolled": true}] {
		not release.allow with input as builder with input.machine as machine with data.references.boot as boot
	}
	not release.allow with input as builder with input.evidence.freshness as "none" with data.references.boot as boot
	not release.allow with input as builder with input.evidence.type as "token" with data.references.boot as boot
}
