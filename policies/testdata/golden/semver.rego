package release

default allow := false

allow if semver.compare(input.claims.name, "1.2.0") > 0
