package release

default allow := false

allow if weight(input.claims.level) == "two"

weight(0) := "none"

weight(2) := "two"

weight(n) := "many" if n > 2
