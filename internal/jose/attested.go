package jose

// AttestedClaims are the members of an attested access token, all required. It names
// what the machine's rights rest on; whether that still is so is read at every use.
type AttestedClaims struct {
	Claims                     // sub and appid: the machine's id; jti: the correlation id of the record
	Vault      string          `json:"vault"`
	Generation int64           `json:"machine_generation"` // of the machine's row, 0: it had none
	Roles      []AttestedState `json:"attested_roles"`     // at least one
	Config     string          `json:"config"`             // digest of the broker's configuration, hex
}

// AttestedState is an attested role as it was when it allowed.
type AttestedState struct {
	Name       string `json:"name"`
	Generation int64  `json:"generation"`
}

// VerifyAttested is [Verify] for an attested access token; want.Type is its own. It
// does not judge what the token rests on.
func VerifyAttested(token string, keys Keys, want Expect) (*AttestedClaims, error) {
	want.Type = TypeAttestedToken
	var c AttestedClaims
	if err := verify(token, keys, want, &c); err != nil {
		return nil, err
	}
	if err := c.check(want); err != nil {
		return nil, err
	}
	if c.Vault == "" || len(c.Roles) == 0 || c.Config == "" || c.Generation < 0 {
		return nil, refuse("vault, attested_roles and config are required")
	}
	return &c, nil
}

// TypeOf reads the typ of a token, which nothing has proven yet: it says how the token
// is to be verified, by whom it then is refused if it is something else. "" when the
// header is not of our shape.
func TypeOf(token string) string {
	head, _, err := split(token)
	if err != nil {
		return ""
	}
	var h header
	if decode(head, &h) != nil {
		return ""
	}
	return h.Typ
}
