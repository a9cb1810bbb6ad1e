package release_test

import data.release

listed := {"aa": {"label": "image 1"}}

web := {"mrtd": listed, "rtmr0": listed, "rtmr1": listed, "rtmr2": listed}

good := {
	"request": {"time": 1000},
	"evidence": {"type": "tdx", "freshness": "nonce", "tcb_status": "UpToDate", "collateral_age": 3600},
	"claims": {"tdx_mrtd": "aa", "tdx_rtmr0": "aa", "tdx_rtmr1": "aa", "tdx_rtmr2": "aa", "tdx_td_attributes_septve_disable": true},
}

test_known_launch_is_released if release.allow with input as good with data.references.web as web

test_accepted_status if {
	release.allow with input as good with input.evidence.tcb_status as "SWHardeningNeeded" with data.references.web as web
}

test_other_status if {
	every status in ["OutOfDate", "ConfigurationNeeded", "Revoked", "unknown", ""] {
		not release.allow with input as good with input.evidence.tcb_status as status with data.references.web as web
	}
}

test_of_another_type if {
	not release.allow with input as good with input.evidence.type as "simulated-tdx" with data.references.web as web
}

test_without_a_nonce if {
	not release.allow with input as good with input.evidence.freshness as "none" with data.references.web as web
}

test_old_collateral if {
	not release.allow with input as good with input.evidence.collateral_age as 2592001 with data.references.web as web
}

test_each_register_counts if {
	every register, _ in good.claims {
		changed := {r: v | some r, m in good.claims; v := {true: "bb", false: m}[r == register]}
		not release.allow with input as good with input.claims as changed with data.references.web as web
	}
}

test_host_may_raise_exceptions if {
	not release.allow with input as good with input.claims.tdx_td_attributes_septve_disable as false with data.references.web as web
}

test_without_references if not release.allow with input as good with data.references as {}

test_until_is_over if {
	old := {"aa": {"label": "image 1", "until": 1000}}
	not release.allow with input as good with data.references.web as web with data.references.web.mrtd as old
}

test_until_is_not_over if {
	current := {"aa": {"label": "image 1", "until": 1001}}
	release.allow with input as good with data.references.web as web with data.references.web.mrtd as current
}
