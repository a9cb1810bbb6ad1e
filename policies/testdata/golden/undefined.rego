package release

allow if input.claims.level == 2
