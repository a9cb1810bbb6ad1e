package release

default allow := false

allow if not input.claims.secureboot == false
