# what a release policy in Azure's JSON grammar means
package release

default allow := false

# anyOf[0]
allow if {
	trim_suffix(input.evidence.authority, "/") == "https://attest.example.com"
	group_1
	differs(input.claims["x-ms-sevsnpvm-hostdata"], {"0000000000000000000000000000000000000000000000000000000000000000"})
	input.claims["x-ms-sevsnpvm-migration-allowed"] in {"false", false}
}

# anyOf[0].allOf[0].anyOf
group_1 if {
	input.claims["x-ms-sevsnpvm-launchmeasurement"] == "5feee30d6d7e1a29f403d70a4198237ddfb13051a2d6976439487c609388ed7f98189887920ab2fa0096903a0c23fca1"
}
group_1 if {
	group_2
}

# anyOf[0].allOf[0].anyOf[1].allOf
group_2 if {
	input.claims["x-ms-sevsnpvm-launchmeasurement"] == "0e86f6b96fcaeb4b0be5b1e0a5ee9f7d6c1b8e9a7f5d3c2b1a0918273645546372819a0b1c2d3e4f5061728394a5b6c7"
	number(input.claims["x-ms-sevsnpvm-guestsvn"]) >= 2
}

# another scalar than these; a missing claim differs from nothing
differs(x, values) if {
	not type_name(x) in {"array", "null", "object"}
	not x in values
}

number(x) := x if is_number(x)

number(x) := to_number(x) if {
	is_string(x)
	count(x) <= 40
	regex.match("^-?(0|[1-9][0-9]*)([.][0-9]+)?$", x)
}
