package release

default allow := false

by_length[n] := words if {
	some x in input.claims.list
	n := count(x)
	words := [y | some y in input.claims.list; count(y) == n]
}

allow if object.get(by_length, 1, []) == ["a", "b"]
