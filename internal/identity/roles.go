package identity

import "slices"

// Role is a built-in role. There are no others.
type Role struct {
	ID          string // UUID of its definition: Azure's, ours for roles of our own
	Name        string
	Description string
	Actions     []Action
	// HSM says that the role is Managed HSM's, whose words differ; Everywhere that it
	// means nothing below the deployment, and is assigned there only.
	HSM, Everywhere bool
}

// Role names. They compare exactly: no case folding, no trimming, so that no
// look-alike is folded into a privileged one.
const (
	RoleAdministrator   = "Key Vault Administrator"
	RoleCryptoOfficer   = "Key Vault Crypto Officer"
	RoleCryptoUser      = "Key Vault Crypto User"
	RoleEncryptionUser  = "Key Vault Crypto Service Encryption User"
	RoleReleaseUser     = "Key Vault Crypto Service Release User"
	RoleReader          = "Key Vault Reader"
	RoleSecretsOfficer  = "Key Vault Secrets Officer"
	RoleSecretsUser     = "Key Vault Secrets User"
	RoleIdentityAdmin   = "OpenSKR Identity Administrator"
	RoleMachineOperator = "OpenSKR Machine Operator"
	RoleAuditor         = "OpenSKR Auditor"
)

// Groups of actions, for the table of roles.
var (
	keysUse     = []Action{KeysEncrypt, KeysDecrypt, KeysWrap, KeysUnwrap, KeysSign, KeysVerify}
	keysManage  = []Action{KeysCreate, KeysImport, KeysRead, DeletedKeysRead, KeysUpdate, KeysRotate, KeysRelease, KeysDelete, KeysRecover, KeysPurge, KeysBackup, KeysRestore}
	rotation    = []Action{RotationRead, RotationWrite}
	secretsAll  = []Action{SecretsGet, SecretsSet, SecretsMetadata, SecretsUpdate, SecretsDelete, SecretsRecover, SecretsPurge, SecretsBackup, SecretsRestore}
	rolesManage = []Action{RolesRead, RolesWrite, RolesDelete, DefinitionsRead}
)

// roles is the whole of authorisation. Azure's built-in roles keep Azure's ids and
// meaning; what Azure has no word for is ours. An Administrator also runs the
// deployment (vaults, clock, recovery), but neither gives rights, nor approves
// machines, nor says what a good one runs, nor reads decisions: whoever owns keys,
// whoever says who may use them and whoever vouches for machines can be three people.
var roles = []Role{
	{
		ID: "00482a5a-887f-4fb3-b363-3b7fe8e74483", Name: RoleAdministrator, Description: "Do everything with vaults, keys and secrets, except give rights.",
		Actions: slices.Concat(keysManage, keysUse, rotation, []Action{Random}, secretsAll, []Action{VaultsRead, VaultsWrite, ClockAccept, RecoveryRead, RecoveryDrill, MetricsRead}),
	},
	{
		ID: "14b46e9e-c2b7-41b4-b07b-48a6ebf60603", Name: RoleCryptoOfficer, Description: "Do everything with keys, except give rights.",
		Actions: slices.Concat(keysManage, keysUse, rotation, []Action{Random}),
	},
	{
		ID: "12338af0-0e69-4776-bea7-57ae8d297424", Name: RoleCryptoUser, Description: "Use keys.",
		Actions: slices.Concat([]Action{KeysRead, DeletedKeysRead, KeysUpdate, KeysBackup}, keysUse, []Action{Random}),
	},
	{
		ID: "e147488a-f6f5-4113-8e2d-b22465e65bf6", Name: RoleEncryptionUser, Description: "Read keys' metadata, wrap and unwrap.",
		Actions: []Action{KeysRead, KeysWrap, KeysUnwrap},
	},
	{
		ID: "08bbd89e-9f13-488c-ac41-acfcb10c90ab", Name: RoleReleaseUser, Description: "Have keys released, where their policy allows it.",
		Actions: []Action{KeysRelease},
	},
	{
		ID: "21090545-7ca7-4776-b22c-e363652d74d2", Name: RoleReader, Description: "Read the metadata of keys and secrets.",
		Actions: []Action{KeysRead, DeletedKeysRead, RotationRead, SecretsMetadata},
	},
	{
		ID: "b86a8fe4-44ce-4948-aee5-eccb2c155cd7", Name: RoleSecretsOfficer, Description: "Do everything with secrets, except give rights.",
		Actions: secretsAll,
	},
	{
		ID: "4633458b-17de-408a-b874-0445c86b69e6", Name: RoleSecretsUser, Description: "Read secrets, values included.",
		Actions: []Action{SecretsGet, SecretsMetadata},
	},

	{
		ID: "a290e904-7015-4bba-90c8-60543313cdb4", Name: "Managed HSM Administrator", Description: "Give and take rights.", HSM: true,
		Actions: rolesManage,
	},
	{
		ID: "515eb02d-2335-4d2d-92f2-b1cbdf9c3778", Name: "Managed HSM Crypto Officer", Description: "Give and take rights, recover and purge deleted keys.", HSM: true,
		Actions: slices.Concat(rolesManage, []Action{DeletedKeysRead, KeysPurge, KeysRecover}),
	},
	{
		ID: "21dbd100-6940-42c2-9190-5d6cb909625b", Name: "Managed HSM Crypto User", Description: "Do everything with keys, except recover and purge deleted ones.", HSM: true,
		Actions: slices.Concat([]Action{
			DefinitionsRead, RolesRead, KeysRead, KeysUpdate, KeysRotate, KeysDelete, KeysCreate, KeysImport, KeysRelease, KeysBackup, KeysRestore,
		}, keysUse, rotation, []Action{Random}),
	},
	{
		ID: "4bd23610-cdcf-4971-bdee-bdc562cc28e4", Name: "Managed HSM Policy Administrator", Description: "Give and take rights.", HSM: true,
		Actions: rolesManage,
	},
	{
		ID: "2c18b078-7c48-4d3a-af88-5a3a1b3f82b3", Name: "Managed HSM Crypto Auditor", Description: "Read rights and the metadata of keys.", HSM: true,
		Actions: []Action{RolesRead, DefinitionsRead, KeysRead, DeletedKeysRead, RotationRead},
	},
	{
		ID: "33413926-3206-4cdd-b39a-83574fe37a17", Name: "Managed HSM Crypto Service Encryption User", Description: "Read keys' metadata, wrap and unwrap.", HSM: true,
		Actions: []Action{KeysRead, KeysWrap, KeysUnwrap},
	},
	{
		ID: "21dbd100-6940-42c2-9190-5d6cb909625c", Name: "Managed HSM Crypto Service Release User", Description: "Have keys released, where their policy allows it.", HSM: true,
		Actions: []Action{KeysRelease},
	},
	{
		ID: "7b127d3c-77bd-4e3e-bbe0-dbb8971fa7f8", Name: "Managed HSM Backup", Description: "Back keys up.", HSM: true,
		Actions: []Action{KeysBackup},
	},
	{
		ID: "6efe6056-5259-49d2-8b3d-d3d73544b20b", Name: "Managed HSM Restore", Description: "Restore keys.", HSM: true,
		Actions: []Action{KeysRestore},
	},

	// Whoever holds it can get every right: it is given to few, and every use is a record.
	{
		ID: "b6a1ee2c-5d0c-4f0e-9a57-1f1b0a1c6e01", Name: RoleIdentityAdmin, Description: "Make principals, give and take rights.", Everywhere: true,
		Actions: slices.Concat([]Action{PrincipalsRead, PrincipalsWrite}, rolesManage),
	},
	{
		ID: "b6a1ee2c-5d0c-4f0e-9a57-1f1b0a1c6e02", Name: RoleMachineOperator, Description: "Approve, label and deny machines, say what a good one runs.", Everywhere: true,
		Actions: []Action{MachinesRead, MachinesWrite, ReferencesRead, ReferencesWrite},
	},
	{
		ID: "b6a1ee2c-5d0c-4f0e-9a57-1f1b0a1c6e03", Name: RoleAuditor, Description: "Read the log, decisions, rights and metadata; change nothing.", Everywhere: true,
		Actions: []Action{
			KeysRead, DeletedKeysRead, RotationRead, SecretsMetadata, RolesRead, DefinitionsRead, PrincipalsRead, VaultsRead,
			MachinesRead, ReferencesRead, LogRead, DecisionsRead, RecoveryRead, MetricsRead,
		},
	},
}

// Roles lists the built-in roles, in the order of the documentation.
func Roles() []Role { return slices.Clone(roles) }

// RoleNamed gives the role of that name; ok is false for every other name.
func RoleNamed(name string) (r Role, ok bool) {
	return roleWhere(func(r Role) bool { return r.Name == name })
}

// RoleByID gives the role whose definition has that id.
func RoleByID(id string) (r Role, ok bool) {
	return roleWhere(func(r Role) bool { return r.ID == id })
}

func roleWhere(is func(Role) bool) (r Role, ok bool) {
	if i := slices.IndexFunc(roles, is); i >= 0 {
		return roles[i], true
	}
	return Role{}, false
}

// DataActions lists what the role allows, as its definition says it.
func (r Role) DataActions() []string {
	out := make([]string, 0, len(r.Actions))
	for _, a := range r.Actions {
		name := string(a)
		if hsm := hsmNames[a]; r.HSM && hsm != "" {
			name = "Microsoft.KeyVault/managedHsm/" + hsm
		}
		if !slices.Contains(out, name) { // Managed HSM has fewer words
			out = append(out, name)
		}
	}
	return out
}

// AdministratorRoles is what `openskr init` gives the first principal: every
// action, through the roles that together hold them.
func AdministratorRoles() []string {
	return []string{RoleAdministrator, RoleIdentityAdmin, RoleMachineOperator, RoleAuditor}
}
