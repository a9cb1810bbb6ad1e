// Package tpm verifies Evidence of a TPM 2.0: a quote, the PCR values it covers,
// the event log that explains them, and the proof that the recipient key lives
// in the same TPM (docs/claims.md has the claims that come out).
//
// Structures are those of the TPM 2.0 Library specification, Part 2; the event
// log is that of the TCG PC Client Platform Firmware Profile (PFP). Everything a
// stranger sends is read by parsers of this package that check a length before
// they use it, allocate nothing that the input's size does not pay for, and
// refuse every byte they do not understand.
package tpm

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/eventlog"
	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/attest/verified"
)

// Bounds of what a stranger may send, in bytes, checked before any parsing.
const (
	MaxEventLog = eventlog.MaxSize
	maxBody     = MaxEventLog*4/3 + 64<<10
	maxAttested = 1 << 10 // TPMS_ATTEST
	maxPublic   = 1 << 10 // TPMT_PUBLIC
	maxCert     = 8 << 10 // DER
	maxChain    = 8       // endorsements

	maxIntermediates = 4 // certificates between an EK's and its root

	cacheSize = 4096 // entries of each cache; an entry is a few kB
)

// Config holds the trust of a Verifier. It is not changed and must not be
// changed after New.
type Config struct {
	AKRoots []*x509.Certificate // AK CA certificates of this deployment; more than one while they rotate
	// Denied is the deployment's own deny list by AK certificate. Nil: none, and
	// Facts.Revocation says not_checked, which the floor refuses.
	Denied func(cert *x509.Certificate) bool
	// ExternalRoots and ExternalIntermediates certify AKs of other authorities, for
	// example a cloud's vTPM. Offline verification only; a broker never sets them.
	ExternalRoots, ExternalIntermediates []*x509.Certificate
	// AllowUncertifiedAK accepts an AK without a certificate: Facts.Chain is then
	// false and the identity is the AK's name. Offline verification only.
	AllowUncertifiedAK bool
}

// Verifier implements [attest.Verifier] for [attest.TypeTPM].
type Verifier struct {
	cfg   Config
	trust *akTrust
	aks   *verified.Cache[*AK]
}

var _ attest.Verifier = (*Verifier)(nil)

// New makes a Verifier. It refuses a root that could not have issued an AK
// certificate, and a configuration that trusts nothing.
func New(cfg Config) (*Verifier, error) {
	if len(cfg.AKRoots) == 0 && len(cfg.ExternalRoots) == 0 && !cfg.AllowUncertifiedAK {
		return nil, fmt.Errorf("tpm verifier: no AK root given, so no evidence could pass")
	}
	trust, err := newAKTrust(cfg)
	if err != nil {
		return nil, err
	}
	return &Verifier{cfg: cfg, trust: trust, aks: verified.NewCache[*AK](cacheSize)}, nil
}

// Verify implements [attest.Verifier]. In this order, each step on what the one
// before proved:
//   - the AK certificate chains to a root, is in time and has the AK profile
//   - the AK is a restricted signing key of a TPM, and the one the certificate names
//   - the quote is a TPM2_Quote that this AK signed over the runtime data's hash
//   - the AK certificate is not on the deny list: judged here, so that a revoked machine that asks is known
//   - it covers exactly the PCRs given, of one SHA-2 bank, and their values
//   - the event log replays to PCRs 0 to 7, and claims are read only where it proves them
//   - the recipient key of the runtime data lives in this TPM, usable only at these PCR values
//
// From the deny list on, a Rejection carries the machine's identity.
func (v *Verifier) Verify(_ context.Context, ev attest.Evidence, want attest.Expect) (*attest.Result, error) {
	signed, err := binding.Signed(ev.RuntimeData, want)
	if err != nil {
		return nil, err
	}
	body, err := decode(ev)
	if err != nil {
		return nil, err
	}
	ak, cert, err := v.attestationKey(body, ev.Endorsements, want)
	if err != nil {
		return nil, err
	}
	q, err := verifyQuote(body, ak, signed)
	if err != nil {
		return nil, err
	}
	res := &attest.Result{
		Type:      attest.TypeTPM,
		Authority: cert.authority,
		Identity:  cert.identity(ak),
		Facts: attest.Facts{
			Chain: cert.leaf != nil, Signature: true, Bound: want.SignedData == nil && !want.Unbound,
			Revocation: v.revocation(cert), Freshness: freshness(want),
			ResetCount: q.clock.resetCount,
		},
	}
	if err := v.appraise(res, body, q, ak, cert, ev.RuntimeData); err != nil {
		err.Identity = &res.Identity
		return nil, err
	}
	return res, nil
}

// appraise fills res from what the authentic quote covers.
func (v *Verifier) appraise(res *attest.Result, body *format.Evidence, q *attested, ak *AK, cert akIdentity, runtimeData []byte) *attest.Rejection {
	if cert.leaf != nil && v.cfg.Denied != nil && v.cfg.Denied(cert.leaf) {
		return attest.Reject(attest.CheckCertRevoked, "AK certificate serial %x is on the deny list", cert.leaf.SerialNumber)
	}
	return judge(res, body, q, ak, cert, runtimeData)
}

// judge fills res with what the quote, the log and the recipient's proof say.
func judge(res *attest.Result, body *format.Evidence, q *attested, ak *AK, cert akIdentity, runtimeData []byte) *attest.Rejection {
	if len(body.PCRs) == 0 && len(body.EventLog) == 0 && !res.Facts.Bound {
		res.Claims = quoteClaims(q, nil, ak, cert) // offline, and no values to hold against the quote
		return nil
	}
	pcrs, err := verifyPCRs(body.PCRs, q, ak)
	if err != nil {
		return err
	}
	res.Claims = quoteClaims(q, pcrs, ak, cert)
	if len(body.EventLog) > 0 {
		if err := logClaims(res.Claims, body.EventLog, pcrs); err != nil {
			return err
		}
	}
	if !res.Facts.Bound {
		return nil
	}
	return verifyRecipient(res, body.Recipient, q, pcrs, ak, runtimeData)
}

// decode bounds and reads the body.
func decode(ev attest.Evidence) (*format.Evidence, *attest.Rejection) {
	var body format.Evidence
	if rej := binding.Body(ev, attest.TypeTPM, maxBody, &body, &body.Type); rej != nil {
		return nil, rej
	}
	if len(body.EventLog) > MaxEventLog {
		return nil, attest.Reject(attest.CheckEventLog, "event log of %d bytes, limit %d", len(body.EventLog), MaxEventLog)
	}
	return &body, nil
}

// attestationKey finds the AK and who certifies it.
func (v *Verifier) attestationKey(body *format.Evidence, ends []attest.Endorsement, want attest.Expect) (*AK, akIdentity, *attest.Rejection) {
	cert, rej := v.trust.certify(ends, want.At)
	if rej != nil {
		return nil, akIdentity{}, rej
	}
	if cert.leaf == nil && !v.cfg.AllowUncertifiedAK {
		return nil, akIdentity{}, attest.Reject(attest.CheckAKNotTrusted, "no endorsement of type %s: enrol this machine first", attest.EndorsementAKCertificate)
	}
	ak, err := v.parseAK(body.AK)
	if err != nil {
		return nil, akIdentity{}, attest.Reject(attest.CheckAKNotTrusted, "%w", err)
	}
	if cert.leaf != nil && !cert.covers(ak) {
		return nil, akIdentity{}, attest.Reject(attest.CheckAKNotTrusted, "the AK certificate is not for the AK of this evidence (name %x)", ak.Name)
	}
	return ak, cert, nil
}

func (v *Verifier) parseAK(raw []byte) (*AK, error) {
	key := verified.Key(raw)
	if ak, ok := v.aks.Get(key, time.Time{}); ok {
		return ak, nil
	}
	ak, err := ParseAK(raw)
	if err == nil {
		v.aks.Put(key, ak, time.Time{}, time.Time{})
	}
	return ak, err
}

func (v *Verifier) revocation(cert akIdentity) attest.Status {
	if cert.leaf != nil && v.cfg.Denied != nil {
		return attest.Checked
	}
	return attest.NotChecked
}

// verifyQuote proves that the AK signed the quote, over signed unless that is nil.
func verifyQuote(body *format.Evidence, ak *AK, signed []byte) (*attested, *attest.Rejection) {
	q, err := parseAttested(body.Quote, typeQuote)
	if err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "quote: %w", err)
	}
	if err := ak.verify(body.Quote, body.Signature); err != nil {
		return nil, attest.Reject(attest.CheckSignature, "quote: %w", err)
	}
	if ak.primary {
		if name, err := ak.qualifiedName(); err != nil || !bytes.Equal(q.signer, name) {
			return nil, attest.Reject(attest.CheckAKNotTrusted, "the quote's signer %x is not the AK with this public area", q.signer)
		}
	}
	if signed == nil {
		return q, nil
	}
	if rej := binding.CheckSigned(q.extraData, signed); rej != nil {
		return nil, rej
	}
	return q, nil
}

func freshness(want attest.Expect) attest.Status {
	if want.Unbound {
		return attest.NotChecked
	}
	return attest.Checked
}

// Anchors are the roots trusted, DER.
func (v *Verifier) Anchors() [][]byte {
	var out [][]byte
	for _, list := range [][]*x509.Certificate{v.cfg.AKRoots, v.cfg.ExternalRoots, v.cfg.ExternalIntermediates} {
		for _, c := range list {
			out = append(out, c.Raw)
		}
	}
	return out
}
