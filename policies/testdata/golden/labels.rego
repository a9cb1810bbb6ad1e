package release

default allow := false

allow if every k, v in input.machine.labels { input.key.tags[concat(".", ["machine", k])] == v }
