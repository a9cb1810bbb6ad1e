package release

import "github.com/openskr/openskr/attest"

// Reason is a stable code for why something was refused: the closed list below
// is used by records, metrics and error bodies, and each has a heading in
// docs/reasons.md.
type Reason string

// Class says how a caller outside sees a reason.
type Class int

// Classes, by the HTTP status they become.
const (
	ClassBad          Class = 400
	ClassUnauthorized Class = 401
	ClassForbidden    Class = 403
	ClassNotFound     Class = 404
	ClassMethod       Class = 405
	ClassConflict     Class = 409
	ClassTooLarge     Class = 413
	ClassMediaType    Class = 415
	ClassThrottled    Class = 429
	ClassInternal     Class = 500
	ClassUnavailable  Class = 503
)

// Reasons of the broker itself.
const (
	ReasonBadRequest       Reason = "bad_request"
	ReasonDuplicateMember  Reason = "duplicate_member"
	ReasonUnknownMember    Reason = "unknown_member"
	ReasonReadOnly         Reason = "read_only"
	ReasonTooLarge         Reason = "request_too_large"
	ReasonMediaType        Reason = "unsupported_media_type"
	ReasonMethod           Reason = "method_not_allowed"
	ReasonNotOffered       Reason = "operation_not_offered" // a Key Vault operation that this version does not have
	ReasonUnauthorized     Reason = "unauthorized"
	ReasonForbidden        Reason = "role_missing"
	ReasonNotFound         Reason = "not_found"
	ReasonConflict         Reason = "conflict"
	ReasonThrottled        Reason = "throttled"
	ReasonOverloaded       Reason = "overloaded"
	ReasonInternal         Reason = "internal_error"
	ReasonNonceMissing     Reason = "nonce_missing"
	ReasonNonceUnknown     Reason = "nonce_unknown"
	ReasonNonceExpired     Reason = "nonce_expired"
	ReasonNonceReplayed    Reason = "nonce_replayed"
	ReasonNonceScope       Reason = "nonce_binding_mismatch"
	ReasonAudience         Reason = "audience_mismatch"
	ReasonPurpose          Reason = "purpose_mismatch"
	ReasonWrapAlg          Reason = "wrap_alg_not_allowed"
	ReasonKeyUnavailable   Reason = "key_unavailable" // unknown, not open to this door, or no right: one answer
	ReasonKeyDisabled      Reason = "key_disabled"
	ReasonKeyNotYetValid   Reason = "key_not_yet_valid"
	ReasonKeyExpired       Reason = "key_expired"
	ReasonNotExportable    Reason = "not_exportable"
	ReasonAttestedOnly     Reason = "attested_only"
	ReasonKeyOperation     Reason = "key_operation_not_permitted"
	ReasonAlgorithm        Reason = "algorithm_not_allowed"
	ReasonDecryption       Reason = "decryption_failed"
	ReasonPolicyImmutable  Reason = "policy_immutable"
	ReasonPolicyInvalid    Reason = "policy_invalid"
	ReasonKeyInvalid       Reason = "key_invalid"
	ReasonPolicyDenied     Reason = "policy_denied"
	ReasonPolicyError      Reason = "policy_error"
	ReasonPolicyResource   Reason = "policy_resource"
	ReasonPolicyTimeout    Reason = "policy_timeout"
	ReasonTCBNotNamed      Reason = "tcb_status_not_named"
	ReasonFloor            Reason = "floor_not_met"
	ReasonStateChanged     Reason = "state_changed"
	ReasonMachinePending   Reason = "machine_pending"
	ReasonMachineDenied    Reason = "machine_denied"
	ReasonMachineUnknown   Reason = "machine_unknown"
	ReasonTPMRollback      Reason = "tpm_rollback"
	ReasonEKNotTrusted     Reason = "ek_not_trusted"
	ReasonEnrollState      Reason = "enroll_state_invalid"
	ReasonClockUntrusted   Reason = "clock_untrusted"
	ReasonLogUnavailable   Reason = "audit_unavailable"
	ReasonIntegrity        Reason = "integrity_error"
	ReasonRollback         Reason = "rollback_detected" // the store as a whole is older than it was
	ReasonRecoveryNotReady Reason = "recovery_not_drilled"
	ReasonDeleted          Reason = "deleted" // the name belongs to an object that was deleted and can be recovered
	ReasonPurgeProtected   Reason = "purge_protected"
	ReasonBackupInvalid    Reason = "backup_invalid"
	ReasonTokenReplayed    Reason = "token_replayed"
	ReasonPurposeRequired  Reason = "purpose_not_stated"
	ReasonFormatNotGranted Reason = "format_not_granted"

	ReasonSecretDisabled    Reason = "secret_disabled"
	ReasonSecretNotYetValid Reason = "secret_not_yet_valid"
	ReasonSecretExpired     Reason = "secret_expired"

	ReasonLastAdministrator Reason = "last_administrator" // nobody could give rights any more
)

// reasons is the closed list. Checks of package attest are reasons too.
var reasons = map[Reason]Class{
	ReasonBadRequest: ClassBad, ReasonTooLarge: ClassTooLarge, ReasonUnauthorized: ClassUnauthorized,
	ReasonDuplicateMember: ClassBad, ReasonUnknownMember: ClassBad, ReasonReadOnly: ClassBad,
	ReasonMediaType: ClassMediaType, ReasonMethod: ClassMethod, ReasonNotOffered: ClassForbidden,
	ReasonForbidden: ClassForbidden, ReasonNotFound: ClassNotFound, ReasonConflict: ClassConflict,
	ReasonThrottled: ClassThrottled, ReasonOverloaded: ClassUnavailable, ReasonInternal: ClassInternal,
	ReasonNonceMissing: ClassBad, ReasonNonceUnknown: ClassForbidden, ReasonNonceExpired: ClassForbidden,
	ReasonNonceReplayed: ClassForbidden, ReasonNonceScope: ClassForbidden, ReasonAudience: ClassForbidden,
	ReasonPurpose: ClassForbidden, ReasonWrapAlg: ClassBad, ReasonKeyUnavailable: ClassForbidden,
	ReasonSecretDisabled: ClassForbidden, ReasonSecretNotYetValid: ClassForbidden, ReasonSecretExpired: ClassForbidden,
	ReasonKeyDisabled: ClassForbidden, ReasonKeyNotYetValid: ClassForbidden, ReasonKeyExpired: ClassForbidden,
	ReasonNotExportable: ClassForbidden, ReasonAttestedOnly: ClassForbidden, ReasonKeyOperation: ClassForbidden,
	ReasonAlgorithm: ClassBad, ReasonDecryption: ClassBad, ReasonPolicyImmutable: ClassConflict,
	ReasonPolicyInvalid: ClassBad, ReasonKeyInvalid: ClassBad,
	ReasonPolicyDenied: ClassForbidden, ReasonPolicyError: ClassForbidden, ReasonPolicyResource: ClassForbidden,
	ReasonPolicyTimeout: ClassUnavailable, ReasonTCBNotNamed: ClassForbidden, ReasonFloor: ClassForbidden, ReasonStateChanged: ClassForbidden,
	ReasonMachinePending: ClassForbidden, ReasonMachineDenied: ClassForbidden, ReasonMachineUnknown: ClassForbidden,
	ReasonTPMRollback: ClassForbidden, ReasonEKNotTrusted: ClassForbidden, ReasonEnrollState: ClassForbidden,
	ReasonClockUntrusted: ClassUnavailable, ReasonLogUnavailable: ClassUnavailable, ReasonIntegrity: ClassUnavailable, ReasonRollback: ClassUnavailable,
	ReasonRecoveryNotReady: ClassConflict, ReasonLastAdministrator: ClassConflict,
	ReasonDeleted: ClassConflict, ReasonPurgeProtected: ClassForbidden, ReasonBackupInvalid: ClassBad,
	ReasonTokenReplayed: ClassForbidden, ReasonPurposeRequired: ClassForbidden, ReasonFormatNotGranted: ClassForbidden,

	Reason(attest.CheckInternal):         ClassForbidden,
	Reason(attest.CheckTypeUnsupported):  ClassForbidden,
	Reason(attest.CheckTypeNotAllowed):   ClassForbidden,
	Reason(attest.CheckMalformed):        ClassBad,
	Reason(attest.CheckRuntimeData):      ClassBad,
	Reason(attest.CheckReportData):       ClassForbidden,
	Reason(attest.CheckSignature):        ClassForbidden,
	Reason(attest.CheckNotLinked):        ClassForbidden,
	Reason(attest.CheckAKNotTrusted):     ClassForbidden,
	Reason(attest.CheckChainUntrusted):   ClassForbidden,
	Reason(attest.CheckChainExpired):     ClassForbidden,
	Reason(attest.CheckCertRevoked):      ClassForbidden,
	Reason(attest.CheckPCRSelection):     ClassForbidden,
	Reason(attest.CheckPCRBank):          ClassForbidden,
	Reason(attest.CheckPCRDigest):        ClassForbidden,
	Reason(attest.CheckEventLog):         ClassForbidden,
	Reason(attest.CheckEventLogReplay):   ClassForbidden,
	Reason(attest.CheckEventLogType):     ClassForbidden,
	Reason(attest.CheckRecipient):        ClassBad,
	Reason(attest.CheckNoRecipient):      ClassBad,
	Reason(attest.CheckAmbiguous):        ClassBad,
	Reason(attest.CheckRecipientUnbound): ClassForbidden,
	Reason(attest.CheckDebug):            ClassForbidden,
	Reason(attest.CheckMigration):        ClassForbidden,

	Reason(attest.CheckCollateralUnavailable): ClassUnavailable,
	Reason(attest.CheckCollateralStale):       ClassUnavailable,
	Reason(attest.CheckCollateralInvalid):     ClassUnavailable,
	Reason(attest.CheckChipMismatch):          ClassForbidden,
	Reason(attest.CheckTCBMismatch):           ClassForbidden,
	Reason(attest.CheckTCBRevoked):            ClassForbidden,
	Reason(attest.CheckTCBUnknown):            ClassForbidden,
	Reason(attest.CheckQEIdentity):            ClassForbidden,
	Reason(attest.CheckPlatformDenied):        ClassForbidden,
	Reason(attest.CheckPlatformBits):          ClassForbidden,
	Reason(attest.CheckVMPL):                  ClassForbidden,
	Reason(attest.CheckTokenExpired):          ClassForbidden,
	Reason(attest.CheckTokenIssuer):           ClassForbidden,
	Reason(attest.CheckTokenVerdict):          ClassForbidden,
}

// Reasons lists every code with its class.
func Reasons() map[Reason]Class {
	out := make(map[Reason]Class, len(reasons))
	for r, c := range reasons {
		out[r] = c
	}
	return out
}

// Class of r; an unknown code is an internal error.
func (r Reason) Class() Class {
	if c, ok := reasons[r]; ok {
		return c
	}
	return ClassInternal
}
