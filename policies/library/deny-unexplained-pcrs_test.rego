package release_test

import data.release

zero := "0000000000000000000000000000000000000000000000000000000000000000"

listed := {zero: {"label": "image 1", "until": 0}}

boot := {
	"pcr4": listed, "pcr7": listed, "pcr8": listed, "pcr9": listed, "pcr11": listed, "pcr12": listed, "pcr14": listed,
	"tpm_firmware": {"0001000200030004": {"label": "vendor 1.2", "until": 2000}},
}

pcrs := {"4": zero, "7": zero, "8": zero, "9": zero, "11": zero, "12": zero, "14": zero}

good := {
	"request": {"time": 1000},
	"evidence": {"type": "tpm", "freshness": "nonce"},
	"claims": {
		"secureboot": true,
		"tpm": {"pcrs": {"sha256": pcrs}, "eventlog": {"present": true, "complete": true, "unexplained": []}},
	},
}

test_explained_is_released if {
	release.allow with input as good with data.references.boot as boot
	count(release.deny) == 0 with input as good
}

test_silent_pcrs_are_released if count(release.deny) == 0 with input as good with input.claims.tpm.eventlog.unexplained as [10, 15]

test_unexplained_is_named if {
	release.deny == {"PCR 14 has a value that the event log does not explain"} with input as good with input.claims.tpm.eventlog.unexplained as [10, 14]
}

test_no_event_log if not release.allow with input as good with input.claims.tpm.eventlog.present as false with data.references.boot as boot

test_incomplete_event_log if not release.allow with input as good with input.claims.tpm.eventlog.complete as false with data.references.boot as boot

test_list_is_missing if {
	not release.allow with input as good with input.claims.tpm.eventlog as {"present": true, "complete": true} with data.references.boot as boot
}

test_without_secure_boot if not release.allow with input as good with input.claims.secureboot as false with data.references.boot as boot

test_without_a_nonce if not release.allow with input as good with input.evidence.freshness as "none" with data.references.boot as boot

test_of_another_type if not release.allow with input as good with input.evidence.type as "snp" with data.references.boot as boot

test_each_pcr_must_be_known if {
	every index, _ in pcrs {
		fewer := {i: p | some i, p in pcrs; i != index}
		not release.allow with input as good with input.claims.tpm.pcrs.sha256 as fewer with data.references.boot as boot
	}
}

test_until_is_over if {
	old := {zero: {"label": "image 1", "until": 1000}}
	not release.allow with input as good with data.references.boot as boot with data.references.boot.pcr4 as old
}

test_until_is_not_over if {
	current := {zero: {"label": "image 1", "until": 1001}}
	release.allow with input as good with data.references.boot as boot with data.references.boot.pcr4 as current
}
