package release_test

import data.release

listed := {"aa": {"label": "image 1"}}

enclave := {"nitro-pcr0": listed, "nitro-pcr8": listed}

good := {
	"request": {"time": 1000},
	"evidence": {"type": "nitro", "freshness": "nonce"},
	"claims": {"nitro": {"pcrs": {"0": "aa", "8": "aa"}}},
}

test_known_image_is_released if release.allow with input as good with data.references.enclave as enclave

test_of_another_type if {
	not release.allow with input as good with input.evidence.type as "simulated-nitro" with data.references.enclave as enclave
}

test_without_a_nonce if {
	not release.allow with input as good with input.evidence.freshness as "none" with data.references.enclave as enclave
}

test_another_image if {
	not release.allow with input as good with input.claims.nitro.pcrs as {"0": "bb", "8": "aa"} with data.references.enclave as enclave
}

test_another_signer if {
	not release.allow with input as good with input.claims.nitro.pcrs as {"0": "aa", "8": "bb"} with data.references.enclave as enclave
}

test_unsigned if {
	not release.allow with input as good with input.claims.nitro.pcrs as {"0": "aa"} with data.references.enclave as enclave
}

test_without_references if not release.allow with input as good with data.references as {}

test_until_is_over if {
	old := {"aa": {"label": "image 1", "until": 1000}}
	not release.allow with input as good with data.references.enclave as enclave with data.references.enclave["nitro-pcr0"] as old
}

test_until_is_not_over if {
	current := {"aa": {"label": "image 1", "until": 1001}}
	release.allow with input as good with data.references.enclave as enclave with data.references.enclave["nitro-pcr0"] as current
}
