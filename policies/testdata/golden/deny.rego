package release

default allow := false

allow if true

deny contains sprintf("%s of %d: %v", [x, count(input.claims.list), input.claims.name]) if some x in input.claims.list
