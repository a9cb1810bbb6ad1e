package release

default allow := false

mode := "a" if input.claims.level >= 2

mode := "b" if input.claims.level >= 3

allow if mode == "a"
