package identity

import (
	"slices"

	"github.com/openskr/openskr/release"
)

// Action is one thing a role can allow. Key Vault actions have Azure's names
// (data actions of Microsoft.KeyVault), ours begin with OpenSKR.
type Action string

// The closed list of actions.
const (
	KeysCreate Action = "Microsoft.KeyVault/vaults/keys/create/action"
	KeysImport Action = "Microsoft.KeyVault/vaults/keys/import/action"
	KeysRead   Action = "Microsoft.KeyVault/vaults/keys/read"
	KeysUpdate Action = "Microsoft.KeyVault/vaults/keys/update/action"

	KeysEncrypt Action = "Microsoft.KeyVault/vaults/keys/encrypt/action"
	KeysDecrypt Action = "Microsoft.KeyVault/vaults/keys/decrypt/action"
	KeysWrap    Action = "Microsoft.KeyVault/vaults/keys/wrap/action"
	KeysUnwrap  Action = "Microsoft.KeyVault/vaults/keys/unwrap/action"
	KeysSign    Action = "Microsoft.KeyVault/vaults/keys/sign/action"
	KeysVerify  Action = "Microsoft.KeyVault/vaults/keys/verify/action"
	Random      Action = "Microsoft.KeyVault/managedHsm/rng/action" // Azure has it on managed HSMs only

	MachinesRead    Action = "OpenSKR/machines/read"
	MachinesWrite   Action = "OpenSKR/machines/write" // approve, deny, label
	ReferencesRead  Action = "OpenSKR/references/read"
	ReferencesWrite Action = "OpenSKR/references/write" // add, retire
	LogRead         Action = "OpenSKR/log/read"
	DecisionsRead   Action = "OpenSKR/decisions/read" // input documents and explanations
	ClockAccept     Action = "OpenSKR/clock/accept/action"
	RecoveryRead    Action = "OpenSKR/recovery/read"
	RecoveryDrill   Action = "OpenSKR/recovery/drill/action"
	MetricsRead     Action = "OpenSKR/metrics/read"
)

// Role names. They compare exactly: no case folding, no trimming, so that no
// look-alike is folded into a privileged one.
const (
	RoleAdministrator   = "Key Vault Administrator"
	RoleCryptoOfficer   = "Key Vault Crypto Officer"
	RoleCryptoUser      = "Key Vault Crypto User"
	RoleEncryptionUser  = "Key Vault Crypto Service Encryption User"
	RoleReader          = "Key Vault Reader"
	RoleMachineOperator = "OpenSKR Machine Operator"
	RoleAuditor         = "OpenSKR Auditor"
)

// roles is the whole of authorisation. Azure's built-in roles keep Azure's
// meaning on keys; what Azure has no word for is ours. An Administrator also
// runs the deployment (clock, recovery) but neither approves machines, nor says
// what a good one runs, nor reads decisions: whoever owns keys and whoever vouches
// for machines can be two people.
var roles = map[string][]Action{
	RoleAdministrator: {
		KeysCreate, KeysImport, KeysRead, KeysUpdate, KeysEncrypt, KeysDecrypt, KeysWrap, KeysUnwrap, KeysSign, KeysVerify, Random,
		ClockAccept, RecoveryRead, RecoveryDrill, MetricsRead,
	},
	RoleCryptoOfficer: {
		KeysCreate, KeysImport, KeysRead, KeysUpdate, KeysEncrypt, KeysDecrypt, KeysWrap, KeysUnwrap, KeysSign, KeysVerify, Random,
	},
	RoleCryptoUser:      {KeysRead, KeysUpdate, KeysEncrypt, KeysDecrypt, KeysWrap, KeysUnwrap, KeysSign, KeysVerify, Random},
	RoleEncryptionUser:  {KeysRead, KeysWrap, KeysUnwrap},
	RoleReader:          {KeysRead},
	RoleMachineOperator: {MachinesRead, MachinesWrite, ReferencesRead, ReferencesWrite},
	RoleAuditor:         {KeysRead, MachinesRead, ReferencesRead, LogRead, DecisionsRead, RecoveryRead, MetricsRead},
}

// Roles lists the built-in roles with what each allows.
func Roles() map[string][]Action {
	out := make(map[string][]Action, len(roles))
	for name, actions := range roles {
		out[name] = append([]Action(nil), actions...)
	}
	return out
}

// AdministratorRoles is what `openskr init` gives the first principal: every
// action, through the three roles that together hold them.
func AdministratorRoles() []string {
	return []string{RoleAdministrator, RoleMachineOperator, RoleAuditor}
}

// Caller is an authenticated principal with its roles as they are now.
type Caller struct {
	ID, Name    string
	Assignments []Assignment
	// State is what the right of the caller rests on, read again by the append of
	// whatever gives something away.
	State []release.ObjectState
}

// Assignment gives a principal a role at a scope and below.
type Assignment struct {
	ID    string `json:"id"` // UUID
	Role  string `json:"role"`
	Scope string `json:"scope"` // canonical, see Scope
}

// Roles lists the names of the caller's roles, once each, for records.
func (c *Caller) Roles() []string {
	var out []string
	for _, a := range c.Assignments {
		if !slices.Contains(out, a.Role) {
			out = append(out, a.Role)
		}
	}
	return out
}

// May says whether one of the caller's roles allows a at scope. An unknown role
// allows nothing.
func (c *Caller) May(a Action, scope string) bool {
	if c == nil || a == "" {
		return false
	}
	for _, have := range c.Assignments {
		if slices.Contains(roles[have.Role], a) && Covers(have.Scope, scope) {
			return true
		}
	}
	return false
}
