package release

default allow := false

allow := true if {
	input.claims.level > 2
} else := input.claims.secureboot if {
	input.claims.level == 2
} else := false
