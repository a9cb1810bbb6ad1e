package release

default allow := false

allow if {
	input.claims.level >= 1
	input.claims.level <= 3
	input.claims.level != 2
}
