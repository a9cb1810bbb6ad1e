package release

import (
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release/receipt"
)

// Record and Receipt live in package receipt, which an outsider can use alone.
type (
	Record  = receipt.Record
	Receipt = receipt.Receipt
)

// Door is the protocol a request came through.
type Door string

// The doors of design: native binds a broker nonce, keyvault takes tokens.
const (
	DoorNative   Door = "native"
	DoorKeyVault Door = "keyvault"
)

// KeyRef names a key or, with Version, one version of it (Key Vault words).
type KeyRef struct {
	Vault   string
	Name    string
	Version string // 32 lower-case hex digits, empty: latest at the append
}

// Collection is a kind of objects in a vault, in the word of its URLs.
type Collection string

// The collections.
const (
	CollectionKeys    Collection = "keys"
	CollectionSecrets Collection = "secrets"
)

// Key is a key version's metadata, or a secret version's. It holds no secret.
type Key struct {
	Ref          KeyRef // with the version resolved
	Collection   Collection
	KID          string // URL with version
	ObjectID     string
	Generation   int64 // grows with every change of the row
	Kty          string
	Attributes   Attributes
	Tags         map[string]string
	Policy       ReleasePolicy
	AttestedOnly bool
	// What else the owner reads of it.
	Crv              string
	KeyOps           []string
	Public           []byte // public JWK members as JSON
	Created, Updated int64  // Unix seconds
}

// Attributes in Key Vault words; times in Unix seconds, 0: not set.
type Attributes struct {
	Enabled    bool  `json:"enabled"`
	NotBefore  int64 `json:"nbf,omitempty"`
	Expires    int64 `json:"exp,omitempty"`
	Exportable bool  `json:"exportable"`
}

// ReleasePolicy is what must hold for a release: a document and its type, kept
// and hashed as uploaded.
type ReleasePolicy struct {
	ContentType string
	Data        []byte
	Immutable   bool
	Digest      [32]byte // SHA-256 of Data
}

// Content types of release policies.
const (
	ContentTypeRego = "application/vnd.openskr.rego"
	ContentTypeJSON = "application/json; charset=utf-8"
)

// Machine is an enrolled machine as the broker knows it (never a verifier).
type Machine struct {
	ID         string
	Status     string // MachinePending, MachineApproved, MachineDenied
	Labels     map[string]string
	Epoch      int64  // grows with every change of status or labels; 0: no row, hardware that nobody listed
	ResetCount uint32 // highest seen
}

// States of a Machine.
const (
	MachinePending  = "pending"
	MachineApproved = "approved"
	MachineDenied   = "denied"
)

// Request is one release request as a door understood it.
type Request struct {
	Door        Door
	Evidence    attest.Evidence // with RuntimeData
	Correlation string          // made by the broker, never by the caller
	Digest      [32]byte        // SHA-256 of the request body
	Source      string          // socket address prefix, for folded records only
}

// Input is the one document a policy sees, a record's input digest covers and a
// replay feeds in again (docs/policies.md).
type Input struct {
	Request  InputRequest  `json:"request"`
	Caller   InputCaller   `json:"caller"`
	Machine  *InputMachine `json:"machine,omitempty"`
	Evidence InputEvidence `json:"evidence"`
	Claims   attest.Claims `json:"claims"`
	Key      InputKey      `json:"key"`
}

// InputRequest is what was asked for.
type InputRequest struct {
	Key     string `json:"key"`     // URL as requested
	Version string `json:"version"` // resolved
	Purpose string `json:"purpose"` // "release", "unlock", "format" or "token", as the evidence says
	Enc     string `json:"enc"`
	Door    Door   `json:"door"`
	Time    int64  `json:"time"` // Unix seconds
}

// InputCaller is who asked.
type InputCaller struct {
	Kind  string   `json:"kind"` // "machine" or "principal"
	ID    string   `json:"id"`
	Roles []string `json:"roles"`
}

// InputMachine is present when the identity is an enrolled one.
type InputMachine struct {
	Labels   map[string]string `json:"labels"`
	Enrolled bool              `json:"enrolled"`
}

// InputEvidence says what kind of proof the claims rest on.
type InputEvidence struct {
	Type          string `json:"type"`
	Authority     string `json:"authority"`
	Freshness     string `json:"freshness"` // "nonce" or "none"
	TCBStatus     string `json:"tcb_status"`
	CollateralAge int64  `json:"collateral_age"` // seconds
}

// InputKey is the key as its owner described it.
type InputKey struct {
	Name       string            `json:"name"`
	Tags       map[string]string `json:"tags"`
	Attributes Attributes        `json:"attributes"`
}

// Decision is a policy's answer, made by a Policy from an Input.
type Decision struct {
	Allow    bool
	Reason   Reason   // why not, when Allow is false
	Messages []string // the policy's own words: for the operator, never for the caller
	// References is the SHA-256 of the reference values that the evaluation could
	// read; zero when there were none.
	References receipt.Digest `json:",omitzero"`
}

// Guard is the state a decision rests on, read again inside the transaction that
// appends its record. If it no longer holds, that record becomes a denial.
type Guard struct {
	Nonce        [32]byte // SHA-256 of the nonce, or what stands for a token's use; inserted by the transaction
	NonceExpires time.Time
	// Repeat, when not zero, stands for the request and its caller: within RepeatLife after
	// the nonce was spent, the same request may spend it again. Such a nonce is spent by a
	// release alone, any other by its first presentation.
	Repeat     [32]byte
	Key        *Key // generation, policy digest; attributes are judged at commit time
	Latest     bool // the request named no version: Key must still be the latest
	Operation  bool // Key is used inside the vault and does not leave: it need not be exportable
	Format     bool // Key makes a disk: its [FormatGrant] is spent by this entry
	Machine    *Machine
	ResetCount uint32 // of the evidence; below the highest seen is a rollback
	// Objects are those that gave the caller its right: principal, roles, vault.
	Objects []ObjectState
}

// RepeatLife is how long a client's retry of a release on a token is answered anew.
const RepeatLife = 60 * time.Second

// ObjectState is an object as it was read.
type ObjectState struct {
	Kind, Name string
	Generation int64 // 0: there was none
}

// Entry is what the log takes: a record, the state to read again (nil when the
// record is already a denial that needs none) and what to keep beside it for the
// operator: the input document, if it came to that, and of a denial the Refusal.
// The log makes the Refusal of an allow that its Guard turns into a denial.
type Entry struct {
	Record  *Record
	Guard   *Guard
	Input   []byte
	Refusal *Refusal
}

// Committed is an entry after its durable commit. Its Record is what was
// written, which can be a denial where an allow was proposed.
type Committed struct {
	Record  *Record
	Receipt *Receipt
	At      time.Time
}

// Released is the answer to an allowed request.
type Released struct {
	Response string // compact JWS, typ application/openskr-release+jws
	Receipt  *Receipt
}

// Listed says whether the broker has a row for the machine.
func (m *Machine) Listed() bool { return m.Epoch != 0 }

// Standing refuses a machine that is not approved. The append judges it again.
func (m *Machine) Standing() error {
	switch m.Status {
	case MachineApproved:
		return nil
	case MachineDenied:
		return Refuse(ReasonMachineDenied, "machine %s is denied", m.ID)
	default:
		return Refuse(ReasonMachinePending, "machine %s waits for approval", m.ID)
	}
}

// Usable refuses a key version that may not be released at that time, whatever
// its policy says. The append judges it again.
func (k *Key) Usable(at time.Time) error {
	if !k.Attributes.Exportable {
		return Refuse(ReasonNotExportable, "key %s is not exportable", k.KID)
	}
	return k.Valid(at)
}

// Valid refuses a version of a key or a secret that has no use at that time, release
// or other.
func (k *Key) Valid(at time.Time) error {
	disabled, early, expired := ReasonKeyDisabled, ReasonKeyNotYetValid, ReasonKeyExpired
	if k.Collection == CollectionSecrets {
		disabled, early, expired = ReasonSecretDisabled, ReasonSecretNotYetValid, ReasonSecretExpired
	}
	switch now := at.Unix(); {
	case !k.Attributes.Enabled:
		return Refuse(disabled, "%s is disabled", k.KID)
	case k.Attributes.NotBefore != 0 && now < k.Attributes.NotBefore:
		return Refuse(early, "%s is valid from %d", k.KID, k.Attributes.NotBefore)
	case k.Attributes.Expires != 0 && now >= k.Attributes.Expires:
		return Refuse(expired, "%s expired at %d", k.KID, k.Attributes.Expires)
	}
	return nil
}
