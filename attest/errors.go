package attest

import "fmt"

// Check is the stable name of a verification step that failed. Every Check is a
// reason code of package release and a heading of docs/reasons.md.
type Check string

// The closed list of checks.
const (
	CheckInternal         Check = "verifier_error"
	CheckTypeUnsupported  Check = "evidence_type_unsupported"
	CheckTypeNotAllowed   Check = "evidence_type_not_allowed"
	CheckMalformed        Check = "evidence_malformed"
	CheckRuntimeData      Check = "runtime_data_malformed"
	CheckReportData       Check = "report_data_mismatch"
	CheckSignature        Check = "signature_invalid"
	CheckNotLinked        Check = "evidence_not_linked"
	CheckAKNotTrusted     Check = "ak_not_trusted"
	CheckChainUntrusted   Check = "chain_untrusted"
	CheckChainExpired     Check = "chain_expired"
	CheckCertRevoked      Check = "cert_revoked"
	CheckPCRSelection     Check = "pcr_selection_mismatch"
	CheckPCRBank          Check = "pcr_bank_not_allowed"
	CheckPCRDigest        Check = "pcr_digest_mismatch"
	CheckEventLog         Check = "eventlog_malformed"
	CheckEventLogReplay   Check = "eventlog_replay_mismatch"
	CheckEventLogType     Check = "eventlog_untrusted_type"
	CheckRecipient        Check = "recipient_key_invalid"
	CheckNoRecipient      Check = "no_recipient"
	CheckAmbiguous        Check = "ambiguous_recipient"
	CheckRecipientUnbound Check = "recipient_not_tpm_bound"
	CheckDebug            Check = "debug"
	CheckMigration        Check = "migration_allowed"

	CheckCollateralUnavailable Check = "collateral_unavailable" // cannot be had now: no verdict
	CheckCollateralStale       Check = "collateral_stale"       // past its next update
	CheckCollateralInvalid     Check = "collateral_invalid"     // forged, or of another platform
	CheckChipMismatch          Check = "chain_chip_mismatch"    // genuine certificate of another chip
	CheckTCBMismatch           Check = "chain_tcb_mismatch"     // genuine certificate of another TCB
	CheckTCBRevoked            Check = "tcb_revoked"
	CheckTCBUnknown            Check = "tcb_unknown" // no TCB level covers the platform
	CheckQEIdentity            Check = "qe_identity_invalid"
	CheckPlatformDenied        Check = "platform_denied" // the deployment's own deny list
	CheckPlatformBits          Check = "platform_unknown_bits"
	CheckVMPL                  Check = "vmpl_mismatch"
	CheckTokenExpired          Check = "token_expired"
	CheckTokenIssuer           Check = "token_issuer_not_trusted"
	CheckTokenVerdict          Check = "token_not_affirming" // the service itself appraised the machine as less
)

// Rejection says which check refused the Evidence. Its text is for the operator;
// a caller outside sees only the code.
type Rejection struct {
	Check    Check
	Err      error
	Expected string // what the check wanted and what it got, where that helps
	Got      string
	// Identity is set when chain, signature and binding of the signing key had
	// been proven before this check failed: such a refusal gets its own record.
	Identity *Identity
}

func (r *Rejection) Error() string {
	s := string(r.Check) + ": " + r.Err.Error()
	if r.Expected != "" || r.Got != "" {
		s += fmt.Sprintf(" (expected %s, got %s)", r.Expected, r.Got)
	}
	return s
}

func (r *Rejection) Unwrap() error { return r.Err }

// Reject makes a Rejection; the format may wrap an error with %w.
func Reject(c Check, format string, args ...any) *Rejection {
	return &Rejection{Check: c, Err: fmt.Errorf(format, args...)}
}
