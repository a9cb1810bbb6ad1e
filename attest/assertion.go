package attest

import (
	"context"
	"time"
)

// Assertion is what the token of an attestation service proves by itself, where a
// client presents it instead of evidence: the passport model of RFC 9334 §5.1, as Key
// Vault's release has it. Its Result's Recipient is a key that the token vouches for.
type Assertion struct {
	Result *Result
	// KID is the key id of the recipient in the token, "" without one.
	KID string
	// Token is SHA-256 of what makes the token one: issuer and jti, or its payload.
	Token   [32]byte
	Expires time.Time // after which it is refused, allowance for clocks included
	// Freshness is "nonce" where the service says that the evidence was made for a nonce
	// that it had given out, else "none".
	Freshness string
}

// Asserter judges tokens. Every error is a *[Rejection].
type Asserter interface {
	Assert(ctx context.Context, token string, at time.Time) (*Assertion, error)
}
