package release

default allow := false

wanted := {"a", "b"}

allow if {
	have := {x | some x in input.claims.list}
	count(wanted - have) == 0
	have & wanted == wanted
}
