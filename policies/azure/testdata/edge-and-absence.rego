# what a release policy in Azure's JSON grammar means
package release

default allow := false

allow if {
	authority_1
}

# allOf[0]
authority_1 if {
	trim_suffix(input.evidence.authority, "/") == "https://edge.example.com"
	group_1
}

# allOf[0].anyOf
group_1 if {
	claim_1 in {"true", true}
}
group_1 if {
	not present_1
}
group_1 if {
	present(claim_3)
}

present_1 if present(claim_2)

# a claim of this name, or else the member of objects at this path
claim_1 := v if {
	v := input.claims["x-ms-policy.edge-compliant-cvm"]
} else := v if {
	v := input.claims["x-ms-policy"]["edge-compliant-cvm"]
}

# a claim of this name, or else the member of objects at this path
claim_2 := v if {
	v := input.claims["x-ms-policy.quarantine"]
} else := v if {
	v := input.claims["x-ms-policy"]["quarantine"]
}

# a claim of this name, or else the member of objects at this path
claim_3 := v if {
	v := input.claims["x-ms-runtime.keys"]
} else := v if {
	v := input.claims["x-ms-runtime"]["keys"]
}

present(_) := true
