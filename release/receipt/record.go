package receipt

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// Kinds of records.
const (
	KindGenesis = "genesis" // first entry of a log
	KindRelease = "release" // a decision on a release, allowed or denied
	KindChange  = "change"  // keys, policies, roles, machines, anchors, configuration
	KindFolded  = "folded"  // counted refusals before an identity was proven
	// KindOperation is one use of a private or secret key inside the vault.
	KindOperation = "operation"
	// KindToken is a decision on an attested access token, allowed or denied.
	KindToken = "token"
)

// Decisions.
const (
	Allow = "allow"
	Deny  = "deny"
)

// Record is one entry of the log: an allow-listed schema, documented in
// docs/audit-record.md. Its JSON, members in this order, empty ones left out, is
// the leaf. It holds no key material, token, evidence or free text from a caller.
type Record struct {
	V          int    `json:"v"` // 1
	Deployment string `json:"deployment"`
	Simulation bool   `json:"simulation,omitempty"` // deployment accepts simulated evidence
	Time       int64  `json:"time"`                 // Unix milliseconds, never smaller than the entry before
	Kind       string `json:"kind"`
	Decision   string `json:"decision,omitempty"`  // of a release or a token, or deny for a refused change
	Reason     string `json:"reason,omitempty"`    // code of docs/reasons.md, empty on allow
	Operation  string `json:"operation,omitempty"` // of a change or an operation, e.g. "keys/create", "machines/approve"
	Door       string `json:"door,omitempty"`      // "native" or "keyvault"

	Correlation string  `json:"correlation,omitempty"`
	Request     Digest  `json:"request,omitzero"` // SHA-256 of the request body
	Nonce       Digest  `json:"nonce,omitzero"`   // SHA-256 of the decoded nonce
	Caller      *Caller `json:"caller,omitempty"`

	Vault      string `json:"vault,omitempty"`
	Object     string `json:"object,omitempty"`     // key or other object's name
	ObjectID   string `json:"object_id,omitempty"`  // random id, survives nothing else
	Version    string `json:"version,omitempty"`    // key version
	Generation int64  `json:"generation,omitempty"` // of the row after a change, or as read for a release
	Policy     Digest `json:"policy,omitzero"`      // SHA-256 of the release policy's bytes
	Input      Digest `json:"input,omitzero"`       // SHA-256 of the decision's input document
	Messages   Digest `json:"messages,omitzero"`    // SHA-256 over the policy's deny messages
	References Digest `json:"references,omitzero"`  // SHA-256 of the reference values that the policy could read

	Evidence  *Evidence `json:"evidence,omitempty"`
	Recipient Digest    `json:"recipient,omitzero"` // RFC 7638 style thumbprint of the recipient key
	Enc       string    `json:"enc,omitempty"`

	Config Digest  `json:"config,omitzero"`  // SHA-256 of the effective configuration
	Binary string  `json:"binary,omitempty"` // version of the broker
	Folded *Folded `json:"folded,omitempty"`
	// Detail of a change or an operation: names from a closed list, digests or enumerated values.
	Detail map[string]string `json:"detail,omitempty"`
	// RetryOf is one more than the index of the release that this one repeats: the same
	// request on the same token, shortly after. 0: none.
	RetryOf int64 `json:"retry_of,omitempty"`
	// PrevObject is one more than the index of the previous record about ObjectID,
	// so that one key can be audited without reading the whole log. 0: none.
	PrevObject int64 `json:"prev_object,omitempty"`
}

// Caller is who asked. A machine's id is a pseudonym of its EK.
type Caller struct {
	Kind  string   `json:"kind"` // "machine", "principal" or "system"
	ID    string   `json:"id"`
	Roles []string `json:"roles,omitempty"`
}

// Evidence says what was verified, by digest.
type Evidence struct {
	Type      string `json:"type"`
	Digest    Digest `json:"digest,omitzero"` // SHA-256 of the evidence body as received
	Authority string `json:"authority,omitempty"`
	Machine   string `json:"machine,omitempty"` // whose token it is, where the caller is a principal
	Anchors   Digest `json:"anchors,omitzero"`  // SHA-256 of the anchor set
	Freshness string `json:"freshness,omitempty"`
}

// Folded counts refusals that were never tied to an identity (design: I2).
type Folded struct {
	Minute int64  `json:"minute"` // Unix minute
	Source string `json:"source"` // /24 or /48 prefix
	Count  int64  `json:"count"`
}

// Digest is a SHA-256, in hex in JSON; the zero value means absent.
type Digest [32]byte

// MarshalText implements [encoding.TextMarshaler].
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) != 64 {
		return errors.New("digest is not 64 hex digits")
	}
	_, err := hex.Decode(d[:], b)
	return err
}

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Encode gives the leaf bytes of r.
func (r *Record) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Decode reads leaf bytes. Only the canonical encoding is accepted, so that a
// leaf has one reading: unknown, repeated or re-cased members are refused.
func Decode(leaf []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(leaf, &r); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	again, err := r.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, leaf) {
		return nil, errors.New("record: not in canonical form")
	}
	if r.V != 1 {
		return nil, fmt.Errorf("record: version %d, this program knows 1", r.V)
	}
	return &r, nil
}
