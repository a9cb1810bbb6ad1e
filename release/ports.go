package release

import "context"

// Challenges judges nonces. Implemented by release/challenge.
type Challenges interface {
	// Begin checks that nonce was issued by this deployment for scope, is in time
	// and not known to be spent. The first presentation spends it, whatever the
	// outcome (every attempt takes a new challenge), so one nonce is never judged
	// twice, at once or later. Errors are *Error with a nonce_… reason.
	Begin(ctx context.Context, nonce []byte, scope Scope) (Ticket, error)
}

// Keys gives metadata to anyone and material to the holder of a Grant.
// Implemented by release/keyvault.
type Keys interface {
	// Find gives a key version's metadata. ReasonKeyUnavailable when there is none.
	Find(ctx context.Context, ref KeyRef) (*Key, error)
	// Lookup is Find for a caller with a right to the key: names compare without case,
	// as Key Vault's do. ReasonNotFound.
	Lookup(ctx context.Context, ref KeyRef) (*Key, error)
	// Open gives the key's release payload: PKCS#8 DER of an RSA or EC key, the raw
	// bytes of an oct key. The caller clears it. A Grant opens once.
	Open(ctx context.Context, g *Grant) ([]byte, error)
}

// Machines looks enrolled machines up. ReasonMachineUnknown when there is none.
type Machines interface {
	Machine(ctx context.Context, id string) (*Machine, error)
}

// Policy evaluates a release policy. It is pure: the same policy and input give
// the same Decision. Implemented by policies.Engine.
type Policy interface {
	Evaluate(ctx context.Context, p ReleasePolicy, input *Input) (Decision, error)
}

// Log is the transparency log.
type Log interface {
	// Append makes e durable, in one transaction with its Guard's checks, and gives
	// its receipt. An error means nothing was written, or its fate is unknown: no
	// key may be opened either way.
	Append(ctx context.Context, e Entry) (*Committed, error)
	// Refused counts a refusal whose caller was never proven, into a folded record,
	// by its reason; the text is for the operator.
	Refused(why error, source, correlation string)
}

// Wrapper wraps key material to a recipient. Implemented by release/wrap.
type Wrapper interface {
	// Check parses a recipient JWK and the wrap algorithm and gives the key's
	// thumbprint. It is asked by strangers, so it does no arithmetic on a modulus.
	Check(recipient []byte, enc string) (thumbprint [32]byte, err error)
	// Vet refuses a weak key that Check let pass. It is asked once a machine has
	// proven itself, and before any decision.
	Vet(recipient []byte) error
	// Wrap seals material; info and aad are bound where the format can (HPKE).
	Wrap(recipient []byte, enc string, material, info, aad []byte) ([]byte, error)
}

// Signer signs release responses with the key pinned in agent.json.
type Signer interface {
	Sign(payload []byte) (jws string, err error)
}
