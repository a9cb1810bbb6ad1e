package release

default allow := false

allow if max(input.claims.list) == "b"
