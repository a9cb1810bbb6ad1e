// Package format is the wire shape of TPM 2.0 Evidence, shared by the verifier
// (attest/tpm) and the collecting half (attest/tpm/guest). TPM structures travel
// as the TPM marshalled them (TPM 2.0 Library, Part 2), without a TPM2B length
// in front unless the field says so.
package format

import "github.com/openskr/openskr/attest"

// Evidence is the body of Evidence of type "tpm".
type Evidence struct {
	Type      attest.Type  `json:"type"`      // always "tpm"
	Quote     attest.Bytes `json:"quote"`     // TPMS_ATTEST of TPM2_Quote; extraData = SHA-256(runtime data)
	Signature attest.Bytes `json:"signature"` // TPMT_SIGNATURE over Quote by the AK
	AK        attest.Bytes `json:"ak"`        // TPMT_PUBLIC of the AK
	// PCRs holds the quoted bank: algorithm ("sha256" or "sha384") to index
	// ("0".."23") to value. Exactly one bank, exactly the quoted selection.
	PCRs      map[string]map[string]attest.Bytes `json:"pcrs"`
	EventLog  attest.Bytes                       `json:"event_log,omitempty"` // TCG2 crypto-agile log
	Recipient *Recipient                         `json:"recipient,omitempty"`
}

// Recipient proves that the recipient key (or the classical half of a hybrid)
// lives in this TPM. The public area carries the policy that ties it to the
// quoted PCRs.
type Recipient struct {
	Public    attest.Bytes `json:"public"`    // TPMT_PUBLIC
	Certify   attest.Bytes `json:"certify"`   // TPMS_ATTEST of TPM2_Certify; extraData as in the quote
	Signature attest.Bytes `json:"signature"` // TPMT_SIGNATURE over Certify by the AK
}

// EnrollRequest asks for an AK certificate. The EK certificate's chain beyond
// the leaf may be given as Intermediates (DER).
type EnrollRequest struct {
	EKPublic      attest.Bytes   `json:"ek_public"`      // TPMT_PUBLIC
	EKCertificate attest.Bytes   `json:"ek_certificate"` // DER
	Intermediates []attest.Bytes `json:"intermediates,omitempty"`
	AK            attest.Bytes   `json:"ak"` // TPMT_PUBLIC
}

// EnrollChallenge is a credential that only the TPM with that EK and AK can open.
type EnrollChallenge struct {
	Credential attest.Bytes `json:"credential"` // TPM2B_ID_OBJECT contents
	Secret     attest.Bytes `json:"secret"`     // TPM2B_ENCRYPTED_SECRET contents
	State      attest.Bytes `json:"state"`      // sealed by the broker, returned as it is
	// MachineID and Status are empty: nothing about a machine is told before its
	// proof. EnrollResult has them.
	MachineID string `json:"machine_id,omitempty"`
	Status    string `json:"status,omitempty"`
}

// EnrollProof returns the opened credential.
type EnrollProof struct {
	State  attest.Bytes `json:"state"`
	Secret attest.Bytes `json:"secret"` // what TPM2_ActivateCredential returned
}

// EnrollResult is the end of an enrolment. Certificate is empty unless the
// machine is approved.
type EnrollResult struct {
	MachineID   string       `json:"machine_id"`
	Status      string       `json:"status"`                // "pending", "approved" or "denied"
	Certificate attest.Bytes `json:"certificate,omitempty"` // DER, at most 24 h
}
