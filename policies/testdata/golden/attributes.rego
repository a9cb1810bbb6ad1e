package release

default allow := false

allow if {
	object.get(input.key.attributes, "exp", 5000) > input.request.time
	input.key.attributes.enabled
}
