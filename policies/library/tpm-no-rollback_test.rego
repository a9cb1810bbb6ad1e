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
	"key": {"name": "disk", "tags": {"min_reset_count": "7"}},
	"claims": {
		"secureboot": true,
		"tpm": {"pcrs": {"sha256": pcrs}, "firmware_version": "0001000200030004", "clock": {"safe": true, "reset_count": 7, "restart_count": 0}},
	},
}

test_forward_is_released if release.allow with input as good with data.references.boot as boot

test_more_boots_are_released if release.allow with input as good with input.claims.tpm.clock.reset_count as 10 with data.references.boot as boot

test_without_tag_is_released if release.allow with input as good with input.key.tags as {} with data.references.boot as boot

test_fewer_boots if not release.allow with input as good with input.claims.tpm.clock.reset_count as 6 with data.references.boot as boot

test_resumed if not release.allow with input as good with input.claims.tpm.clock.restart_count as 1 with data.references.boot as boot

test_clock_not_safe if not release.allow with input as good with input.claims.tpm.clock.safe as false with data.references.boot as boot

test_old_firmware if not release.allow with input as good with input.claims.tpm.firmware_version as "0001000200030003" with data.references.boot as boot

test_firmware_out_of_time if not release.allow with input as good with input.request.time as 2000 with data.references.boot as boot

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
