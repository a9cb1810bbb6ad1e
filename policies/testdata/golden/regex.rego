package release

default allow := false

allow if regex.match(`^root=/dev/[a-z]+ ro$`, input.claims.boot.cmdline)
