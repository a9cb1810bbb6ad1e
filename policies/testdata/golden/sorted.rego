package release

default allow := false

allow if sort(input.claims.list) == input.claims.list
