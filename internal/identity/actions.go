package identity

// Action is one thing a role can allow. Key Vault actions have Azure's names
// (data actions of Microsoft.KeyVault), ours begin with OpenSKR.
type Action string

// Actions on keys.
const (
	KeysCreate  Action = "Microsoft.KeyVault/vaults/keys/create/action"
	KeysImport  Action = "Microsoft.KeyVault/vaults/keys/import/action"
	KeysRead    Action = "Microsoft.KeyVault/vaults/keys/read"
	KeysUpdate  Action = "Microsoft.KeyVault/vaults/keys/update/action"
	KeysRotate  Action = "Microsoft.KeyVault/vaults/keys/rotate/action"
	KeysRelease Action = "Microsoft.KeyVault/vaults/keys/release/action"
	KeysDelete  Action = "Microsoft.KeyVault/vaults/keys/delete"
	KeysRecover Action = "Microsoft.KeyVault/vaults/keys/recover/action"
	KeysPurge   Action = "Microsoft.KeyVault/vaults/keys/purge/action"
	KeysBackup  Action = "Microsoft.KeyVault/vaults/keys/backup/action"
	KeysRestore Action = "Microsoft.KeyVault/vaults/keys/restore/action"

	KeysEncrypt Action = "Microsoft.KeyVault/vaults/keys/encrypt/action"
	KeysDecrypt Action = "Microsoft.KeyVault/vaults/keys/decrypt/action"
	KeysWrap    Action = "Microsoft.KeyVault/vaults/keys/wrap/action"
	KeysUnwrap  Action = "Microsoft.KeyVault/vaults/keys/unwrap/action"
	KeysSign    Action = "Microsoft.KeyVault/vaults/keys/sign/action"
	KeysVerify  Action = "Microsoft.KeyVault/vaults/keys/verify/action"

	RotationRead  Action = "Microsoft.KeyVault/vaults/keyrotationpolicies/read"
	RotationWrite Action = "Microsoft.KeyVault/vaults/keyrotationpolicies/write"

	// Azure has these on managed HSMs only.
	DeletedKeysRead Action = "Microsoft.KeyVault/managedHsm/keys/deletedKeys/read/action"
	Random          Action = "Microsoft.KeyVault/managedHsm/rng/action"
)

// Actions on secrets.
const (
	SecretsGet      Action = "Microsoft.KeyVault/vaults/secrets/getSecret/action" // the value
	SecretsSet      Action = "Microsoft.KeyVault/vaults/secrets/setSecret/action"
	SecretsMetadata Action = "Microsoft.KeyVault/vaults/secrets/readMetadata/action"
	SecretsUpdate   Action = "Microsoft.KeyVault/vaults/secrets/update/action"
	SecretsDelete   Action = "Microsoft.KeyVault/vaults/secrets/delete"
	SecretsRecover  Action = "Microsoft.KeyVault/vaults/secrets/recover/action"
	SecretsPurge    Action = "Microsoft.KeyVault/vaults/secrets/purge/action"
	SecretsBackup   Action = "Microsoft.KeyVault/vaults/secrets/backup/action"
	SecretsRestore  Action = "Microsoft.KeyVault/vaults/secrets/restore/action"
)

// Actions on rights. RolesWrite and RolesDelete count at the scope of the
// assignment that is made or removed. Who may do PrincipalsWrite can take any
// principal over, by giving it a new secret.
const (
	RolesRead       Action = "Microsoft.KeyVault/managedHsm/roleAssignments/read/action"
	RolesWrite      Action = "Microsoft.KeyVault/managedHsm/roleAssignments/write/action"
	RolesDelete     Action = "Microsoft.KeyVault/managedHsm/roleAssignments/delete/action"
	DefinitionsRead Action = "Microsoft.KeyVault/managedHsm/roleDefinitions/read/action"
	PrincipalsRead  Action = "OpenSKR/principals/read"
	PrincipalsWrite Action = "OpenSKR/principals/write"
)

// Actions on the deployment.
const (
	VaultsRead      Action = "OpenSKR/vaults/read"
	VaultsWrite     Action = "OpenSKR/vaults/write"
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

// hsmNames are the actions as Managed HSM spells them, where that is not how they
// are spelt here: its roles are answered in its own words.
var hsmNames = map[Action]string{
	KeysCreate: "keys/create", KeysImport: "keys/import/action", KeysRead: "keys/read/action", KeysUpdate: "keys/write/action",
	KeysRotate: "keys/rotate/action", KeysRelease: "keys/release/action", KeysDelete: "keys/delete", KeysRecover: "keys/deletedKeys/recover/action",
	KeysPurge: "keys/deletedKeys/delete", KeysBackup: "keys/backup/action", KeysRestore: "keys/restore/action",
	KeysEncrypt: "keys/encrypt/action", KeysDecrypt: "keys/decrypt/action", KeysWrap: "keys/wrap/action", KeysUnwrap: "keys/unwrap/action",
	KeysSign: "keys/sign/action", KeysVerify: "keys/verify/action", RotationRead: "keys/read/action", RotationWrite: "keys/write/action",
}
