package release

default allow := false

allow if input.claims.level == 2

deny contains "not this door" if input.request.door != "native"

deny contains msg if {
	input.claims.tpm.clock.safe == false
	msg := "clock"
}

deny contains input.claims.boot.cmdline if contains(input.claims.boot.cmdline, "init")
