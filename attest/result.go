package attest

import (
	"encoding/base64"
	"time"
)

var b64 = base64.RawURLEncoding.Strict()

// Result is the Attestation Result (RFC 9334 §8.4): what the hardware vouched
// for. Only a Verifier makes one.
type Result struct {
	Type      Type
	Authority string   // who vouches: the name of the trust anchor, e.g. "ak-ca" or a root's subject
	Identity  Identity // the machine that proved itself
	Claims    Claims
	Recipient []byte // JWK from the signed runtime data, nil when Expect was offline
	Facts     Facts
}

// Identity is a proven identity of a machine. ID is stable over reboots.
type Identity struct {
	Kind string `json:"kind"` // "tpm", or the type of the Evidence
	ID   string `json:"id"`   // machine id of the enrolment (AK certificate), the hex AK name, or of Identify
}

// Facts is what the floor (release) reads. A zero field means "not proven".
type Facts struct {
	Chain      bool   // the signing key chains to a configured anchor
	Signature  bool   // the hardware's signature verifies
	Bound      bool   // the signed bytes cover the runtime data
	Recipient  bool   // the recipient key is covered by the signed bytes
	Resident   bool   // its classical half is proven to live in the TPM or TEE
	Revocation Status // of the chain
	Freshness  Status // offline verification only; a release judges its nonce itself
	Debug      bool
	Migratable bool
	TCBStatus  string // Intel's word; TCBUnknown without collateral; "" where the type has none
	// CollateralAge is how long ago the oldest of the collateral that this Result
	// rests on was issued; 0 where none was used.
	CollateralAge time.Duration
	ResetCount    uint32 // TPM clockInfo, 0 elsewhere
}

// Words of Facts.TCBStatus that the floor knows. All others are Intel's
// (docs/claims.md), and a release policy that does not name the status gets
// TCBUpToDate only.
const (
	TCBUpToDate = "UpToDate"
	TCBRevoked  = "Revoked"
	TCBUnknown  = "unknown"
)

// Status says how far an optional check went.
type Status string

// The values of a Status.
const (
	Checked    Status = "checked"
	NotChecked Status = "not_checked"
	Unknown    Status = "unknown"
)

// Claims is a JSON object made of string, bool, int64, uint64, []any and nested
// map[string]any only. Names and types are documented in docs/claims.md.
type Claims map[string]any
