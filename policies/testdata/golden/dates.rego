package release

default allow := false

allow if time.parse_rfc3339_ns("2020-01-01T00:00:00Z") > input.request.time
