package release_test

import data.release

web := {"snp-measurement": {"aa": {"label": "image 1"}}, "chip": {"cc": {"label": "host 1", "until": 0}}}

good := {
	"request": {"time": 1000},
	"evidence": {"type": "snp", "freshness": "nonce", "collateral_age": 3600},
	"claims": {"snp": {
		"measurement": "aa", "chip_id": "cc", "vmpl": 0,
		"tcb": {"reported": {"boot_loader": 4, "tee": 0, "snp": 24, "microcode": 219}},
	}},
}

test_known_launch_is_released if release.allow with input as good with data.references.web as web

test_of_another_type if {
	not release.allow with input as good with input.evidence.type as "simulated-snp" with data.references.web as web
}

test_without_a_nonce if {
	not release.allow with input as good with input.evidence.freshness as "none" with data.references.web as web
}

test_another_measurement if {
	not release.allow with input as good with input.claims.snp.measurement as "ab" with data.references.web as web
}

test_another_chip if {
	not release.allow with input as good with input.claims.snp.chip_id as "cd" with data.references.web as web
}

test_another_privilege_level if {
	not release.allow with input as good with input.claims.snp.vmpl as 1 with data.references.web as web
}

test_old_lists if {
	not release.allow with input as good with input.evidence.collateral_age as 31622401 with data.references.web as web
}

test_each_component_counts if {
	every part in ["boot_loader", "snp", "microcode"] {
		lower := {p: v | some p, l in good.claims.snp.tcb.reported; v := {true: l - 1, false: l + 100}[p == part]}
		not release.allow with input as good with input.claims.snp.tcb.reported as lower with data.references.web as web
	}
}

test_missing_component if {
	not release.allow with input as good with input.claims.snp.tcb.reported as {"boot_loader": 9} with data.references.web as web
}

test_without_references if not release.allow with input as good with data.references as {}

test_until_is_over if {
	old := {"cc": {"label": "host 1", "until": 1000}}
	not release.allow with input as good with data.references.web as web with data.references.web.chip as old
}

test_until_is_not_over if {
	current := {"cc": {"label": "host 1", "until": 1001}}
	release.allow with input as good with data.references.web as web with data.references.web.chip as current
}
