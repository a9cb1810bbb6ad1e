// Package v1 is the native door: challenge, enrolment, release, and what
// operators and auditors read and change that Key Vault has no word for. The
// protocol is written down in docs/wire/native.md. It knows no HTTP framework.
package v1

import (
	"context"
	"time"

	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// Config is what the door stands on.
type Config struct {
	Deployment string
	Issuer     Issuer
	ParseKID   func(url string) (release.KeyRef, error)
	Releaser   Releaser
	Tokens     Tokens
	Attested   AttestedRoles
	Formats    FormatGrants
	Enroll     Enroll
	Log        Log
	Objects    release.Objects
	Access     Access
	References References
	Vaults     Vaults
	Policies   Policies
	Clock      Clock
	Recovery   Recovery
	Identity   *identity.Service
	Record     func(ctx context.Context, op string) *release.Record
	Now        func() time.Time
	// Warnings lists what an operator should know, as stable words
	// ("open_enrollment", "simulation"); its error says why nothing can be released.
	Warnings func(ctx context.Context) ([]string, error)
	OpenAPI  []byte
	Metrics  Metrics
	// PublicLog lets anybody read checkpoint, entries and proofs.
	PublicLog bool
}

// Metrics counts. Implemented by *telemetry.Metrics.
type Metrics interface {
	Release(door, reason string, took time.Duration)
	Text() (body []byte, mediaType string, err error)
}

// Issuer makes nonces. Implemented by release/challenge.
type Issuer interface {
	Issue(scope release.Scope) (nonce []byte, expires time.Time, err error)
}

// Releaser decides and releases. Implemented by release.Broker, which records
// every outcome itself.
type Releaser interface {
	Release(ctx context.Context, req release.Request) (*release.Released, error)
}

// Tokens gives attested access tokens. Implemented by release.TokenBroker, which
// records every outcome itself.
type Tokens interface {
	Token(ctx context.Context, req release.Request) (*release.Released, error)
	// ParseVault gives the vault that a URL of this deployment names.
	ParseVault(url string) (string, error)
}

// Enroll makes machines. Implemented by internal/enroll.
type Enroll interface {
	Begin(ctx context.Context, req format.EnrollRequest) (*format.EnrollChallenge, error)
	Finish(ctx context.Context, proof format.EnrollProof) (*format.EnrollResult, error)
}

// Log is what a reader asks of the transparency log. Implemented by internal/audit.
type Log interface {
	// Checkpoint gives the newest signed checkpoint, empty for an empty log.
	Checkpoint() string
	// Entries gives up to limit leaves from index start on.
	Entries(ctx context.Context, start int64, limit int) ([][]byte, error)
	// Prove gives the inclusion proof of an entry in the tree of that size.
	// ReasonNotFound when the log is smaller.
	Prove(ctx context.Context, index, size int64) ([][]byte, error)
	// Input gives the input document kept with an entry. ReasonNotFound.
	Input(ctx context.Context, index int64) ([]byte, error)
	// Refusal gives the encoded release.Refusal kept with a denial. ReasonNotFound.
	Refusal(ctx context.Context, index int64) ([]byte, error)
	// Policy gives a policy that some key has or had, by its SHA-256. ReasonNotFound.
	Policy(ctx context.Context, digest receipt.Digest) (*release.ReleasePolicy, error)
}

// Ring is optional for a Log: refusals before an identity was proven, in full,
// as far as they fit in memory, newest last, ready to be encoded as JSON.
type Ring interface {
	Ring() any
}

// Policies explains a decision by evaluating it again. Implemented by package
// policies; the answer is encoded as JSON.
type Policies interface {
	Explain(ctx context.Context, p release.ReleasePolicy, input []byte) (any, error)
}

// Clock accepts a clock that jumped (design: D19).
type Clock interface {
	Accept(ctx context.Context, rec *release.Record) error
}

// Recovery drills the recovery recipients. Implemented by internal/deployment.
type Recovery interface {
	// Status is encoded as JSON: recipients, when drilled, and a fresh test message
	// encrypted to the recipients.
	Status(ctx context.Context) (any, error)
	// Drill takes the decrypted test message and records the success.
	Drill(ctx context.Context, rec *release.Record, proof []byte) error
}
