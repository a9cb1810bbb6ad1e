package release

default allow := false

allow if {
	startswith(input.claims.boot.cmdline, "root=")
	not contains(input.claims.boot.cmdline, "init=")
	count(split(input.claims.boot.cmdline, " ")) == 2
	lower(upper(input.claims.name)) == trim_space(concat("", [" ", input.claims.name]))
}
