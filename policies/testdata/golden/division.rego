package release

default allow := false

allow if 10 / input.claims.level > 4
