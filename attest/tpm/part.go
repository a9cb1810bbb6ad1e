package tpm

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/tpm/format"
)

// KeyAK is an AK of which only the key is known, because another proof names it so:
// the runtime JSON of an Azure confidential VM. It signs RSASSA with SHA-256. That it
// is a restricted key of a TPM is then the promise of whoever named it.
func KeyAK(pub *rsa.PublicKey) (*AK, error) {
	if pub.N.BitLen() < 2048 || pub.N.BitLen() > 4096 || pub.E != 65537 {
		return nil, errors.New("AK: want RSA of 2048 to 4096 bits with e = 65537")
	}
	return &AK{Public: pub, scheme: algRSASSA, hash: algSHA256}, nil
}

// Appraise judges the TPM's part of composite evidence, whose AK another proof
// vouches for: quote, PCR values, event log and the proof of the recipient key, with
// the same rules as [Verifier.Verify]. The body's own ak is not read. The Result has
// claims, recipient and facts of the TPM; type, authority, identity, chain and
// revocation are the caller's. A Rejection after the AK's signature over this data was
// proven has an Identity, of the key alone, in whose place the caller puts its own.
func Appraise(body *format.Evidence, ak *AK, runtimeData []byte, want attest.Expect) (*attest.Result, *attest.Rejection) {
	if body.Type != attest.TypeTPM {
		return nil, attest.Reject(attest.CheckTypeNotAllowed, "the TPM's part calls itself %.32q", body.Type)
	}
	if len(body.EventLog) > MaxEventLog {
		return nil, attest.Reject(attest.CheckEventLog, "event log of %d bytes, limit %d", len(body.EventLog), MaxEventLog)
	}
	signed, rej := binding.Signed(runtimeData, want)
	if rej != nil {
		return nil, rej
	}
	q, rej := verifyQuote(body, ak, signed)
	if rej != nil {
		return nil, rej
	}
	res := &attest.Result{Facts: attest.Facts{
		Signature: true, Bound: want.SignedData == nil && !want.Unbound, Freshness: freshness(want),
		ResetCount: q.clock.resetCount,
	}}
	if rej := judge(res, body, q, ak, akIdentity{}, runtimeData); rej != nil {
		if spki, err := x509.MarshalPKIXPublicKey(ak.Public); err == nil {
			id := attest.Identify(attest.TypeTPM, spki)
			rej.Identity = &id
		}
		return nil, rej
	}
	return res, nil
}
