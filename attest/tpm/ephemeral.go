package tpm

import (
	"crypto/rsa"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm/format"
)

// AppraiseKey is [Appraise] for a request without runtime data, as the guest client of
// Azure Attestation makes it: neither the quote nor the proof of the key is of anything
// but the TPM itself, so that nothing here is fresh. The key is RSA, lives in this TPM,
// and works only while the quoted PCRs have the quoted values.
//
// A statement over data is refused: it was made for a request of another protocol.
func AppraiseKey(body *format.Evidence, ak *AK, want attest.Expect) (*attest.Result, *rsa.PublicKey, *attest.Rejection) {
	want.Unbound, want.SignedData = true, nil
	if body.Recipient == nil || len(body.PCRs) == 0 {
		return nil, nil, attest.Reject(attest.CheckNoRecipient, "no key, or no PCR values that it could be tied to")
	}
	res, rej := Appraise(body, ak, nil, want)
	if rej != nil {
		return nil, nil, rej
	}
	q, err := parseAttested(body.Quote, typeQuote)
	if err != nil {
		return nil, nil, attest.Reject(attest.CheckMalformed, "quote: %w", err)
	}
	if len(q.extraData) != 0 {
		return nil, nil, attest.Reject(attest.CheckNotLinked, "the quote was made over data, for another protocol")
	}
	pcrs, rej := verifyPCRs(body.PCRs, q, ak)
	if rej != nil {
		return nil, nil, rej
	}
	pub, err := parsePublic(body.Recipient.Public)
	if err != nil {
		return nil, nil, attest.Reject(attest.CheckRecipientUnbound, "recipient: %w", err)
	}
	key, ok := pub.key.(*rsa.PublicKey)
	if !ok {
		return nil, nil, attest.Reject(attest.CheckRecipientUnbound, "recipient: not an RSA key")
	}
	if rej := verifyCertify(body.Recipient, pub, q, ak); rej != nil {
		return nil, nil, rej
	}
	if err := pub.residentAt(q.selection, pcrs.digest); err != nil {
		return nil, nil, attest.Reject(attest.CheckRecipientUnbound, "%w", err)
	}
	return res, key, nil
}
