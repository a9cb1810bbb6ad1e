package release_test

import data.release

zero := "0000000000000000000000000000000000000000000000000000000000000000"

listed := {zero: {"label": "image 1", "until": 0}}

boot := {
	"pcr4": listed, "pcr7": listed, "pcr9": listed, "pcr11": listed,
	"cmdline": {"root=/dev/vda ro": {"label": "image 1", "until": 2000}},
}

pcrs := {"4": zero, "7": zero, "8": "ab", "9": zero, "11": zero, "12": "cd"}

good := {
	"request": {"time": 1000},
	"evidence": {"type": "tpm", "freshness": "nonce"},
	"claims": {
		"secureboot": true,
		"boot": {"cmdline": "root=/dev/vda ro", "loader": "grub"},
		"tpm": {"pcrs": {"sha256": pcrs}, "eventlog": {"present": true, "complete": true, "unexplained": [10]}},
	},
}

test_approved_command_line_is_released if release.allow with input as good with data.references.boot as boot

test_another_command_line if {
	not release.allow with input as good with input.claims.boot.cmdline as "root=/dev/vda ro init=/bin/sh" with data.references.boot as boot
}

test_no_command_line if not release.allow with input as good with input.claims.boot as {"loader": "grub"} with data.references.boot as boot

test_command_line_out_of_time if not release.allow with input as good with input.request.time as 2000 with data.references.boot as boot

test_without_secure_boot if not release.allow with input as good with input.claims.secureboot as false with data.references.boot as boot

test_incomplete_log if not release.allow with input as good with input.claims.tpm.eventlog.complete as false with data.references.boot as boot

test_unexplained_load_options if {
	every index in [8, 12] {
		not release.allow with input as good with input.claims.tpm.eventlog.unexplained as [index] with data.references.boot as boot
	}
}

test_each_pcr_must_be_quoted if {
	every index, _ in pcrs {
		fewer := {i: p | some i, p in pcrs; i != index}
		not release.allow with input as good with input.claims.tpm.pcrs.sha256 as fewer with data.references.boot as boot
	}
}

test_unknown_loader if {
	not release.allow with input as good with input.claims.tpm.pcrs.sha256 as {"4": "ff", "7": zero, "8": "ab", "9": zero, "11": zero, "12": "cd"} with data.references.boot as boot
}

test_without_a_nonce if not release.allow with input as good with input.evidence.freshness as "none" with data.references.boot as boot

test_of_another_type if not release.allow with input as good with input.evidence.type as "snp" with data.references.boot as boot
