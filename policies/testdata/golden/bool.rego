package release

default allow := false

allow if input.claims.secureboot == true
