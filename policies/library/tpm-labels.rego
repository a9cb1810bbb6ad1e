# title: Only machines whose labels match the key
# threat: A genuine, approved machine of another role or tenant asks for a key that is not meant for it.
#
# Every tag "machine.X" of the key must equal the label X that an operator gave
# the machine (`openskr machine label`); a key without such a tag is released to
# nobody. Who may change a key's tags can change whom it is released to.
#
# References, in the set "boot": pcr4, pcr7, pcr8, pcr9, pcr11, pcr12, pcr14.
package release

default allow := false

allow if {
	input.evidence.type == "tpm"
	input.evidence.freshness == "nonce"
	input.claims.secureboot == true
	boot_is_known
	input.machine.enrolled == true
	count(required) > 0
	every name, value in required {
		input.machine.labels[name] == value
	}
}

required[name] := value if {
	some tag, value in input.key.tags
	startswith(tag, "machine.")
	name := trim_prefix(tag, "machine.")
}

boot_is_known if {
	every index in ["4", "7", "8", "9", "11", "12", "14"] {
		known(concat("", ["pcr", index]), input.claims.tpm.pcrs.sha256[index])
	}
}

# A value is known when the set lists it and its time has not run out.
known(kind, value) if in_time(data.references.boot[kind][value])

in_time(entry) if object.get(entry, "until", 0) == 0

in_time(entry) if entry.until > input.request.time
