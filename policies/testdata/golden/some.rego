package release

default allow := false

allow if {
	some i, x in input.claims.list
	i == 1
	x == "b"
}
