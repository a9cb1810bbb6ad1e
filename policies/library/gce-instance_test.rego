package release_test

import data.release

zero := "0000000000000000000000000000000000000000000000000000000000000000"

listed := {zero: {"label": "image 1", "until": 0}}

boot := {"pcr4": listed, "pcr7": listed, "pcr8": listed, "pcr9": listed, "pcr11": listed, "pcr12": listed, "pcr14": listed}

pcrs := {"4": zero, "7": zero, "8": zero, "9": zero, "11": zero, "12": zero, "14": zero}

good := {
	"request": {"time": 1000},
	"evidence": {"type": "gce", "freshness": "nonce"},
	"claims": {"secureboot": true, "gce": {"project_id": "my-project", "project_number": "123456789012"}, "tpm": {"pcrs": {"sha256": pcrs}}},
}

test_known_boot_is_released if release.allow with input as good with data.references.boot as boot

test_without_secure_boot if {
	not release.allow with input as good with input.claims.secureboot as false with data.references.boot as boot
}

test_without_a_nonce if {
	not release.allow with input as good with input.evidence.freshness as "none" with data.references.boot as boot
}

test_of_another_type if {
	not release.allow with input as good with input.evidence.type as "tpm" with data.references.boot as boot
}

test_another_project if {
	not release.allow with input as good with input.claims.gce.project_id as "theirs" with data.references.boot as boot
}

test_another_project_of_that_name if {
	not release.allow with input as good with input.claims.gce.project_number as "1" with data.references.boot as boot
}

test_each_pcr_counts if {
	every index, _ in pcrs {
		changed := {i: v | some i, p in pcrs; v := {true: "ff", false: p}[i == index]}
		not release.allow with input as good with input.claims.tpm.pcrs.sha256 as changed with data.references.boot as boot
	}
}

test_each_pcr_must_be_quoted if {
	every index, _ in pcrs {
		fewer := {i: p | some i, p in pcrs; i != index}
		not release.allow with input as good with input.claims.tpm.pcrs.sha256 as fewer with data.references.boot as boot
	}
}

test_without_references if not release.allow with input as good with data.references as {}

test_until_is_over if {
	old := {zero: {"label": "image 1", "until": 1000}}
	not release.allow with input as good with data.references.boot as boot with data.references.boot.pcr4 as old
}

test_until_is_not_over if {
	current := {zero: {"label": "image 1", "until": 1001}}
	release.allow with input as good with data.references.boot as boot with data.references.boot.pcr4 as current
}
