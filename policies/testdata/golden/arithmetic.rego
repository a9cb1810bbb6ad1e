package release

default allow := false

allow if {
	x := ((input.claims.level * 3) + 1) % 7
	x == 0
}
