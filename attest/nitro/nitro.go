// Package nitro verifies Evidence of AWS Nitro: the attestation document that the
// Nitro Security Module (NSM) of an enclave, or the NitroTPM of an EC2 instance,
// makes over data of the caller's. It is a COSE_Sign1 (RFC 9052 §4.2) whose payload
// is CBOR and brings its own certificate chain, which ends at AWS's root
// (docs.aws.amazon.com/enclaves/latest/user/verify-root.html).
//
// A document holds no status of its platform beyond that, there is no collateral to
// fetch, and AWS asks that the revocation lists which the certificates name be left
// alone: a leaf lives three hours, what stands above it days. Revocation is the
// deployment's own deny list.
package nitro

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/nitro/format"
	"github.com/openskr/openskr/attest/verified"
)

const (
	// MaxDocument bounds an attestation document in bytes; an NSM's answer has at most
	// 12 KiB.
	MaxDocument = 16 << 10
	maxBody     = MaxDocument*4/3 + 256

	// skew is how far the time of a release may be from the document's own.
	skew = 5 * time.Minute

	cacheSize = 1024 // chains
)

// Config holds the trust of a Verifier.
type Config struct {
	Type attest.Type // "" = "nitro", or "simulated-nitro"
	// Roots are the trust anchors, on P-384. Nil: the pinned root of AWS; a simulation
	// must give its own.
	Roots []*x509.Certificate
	// Denied is the deployment's own deny list by module id
	// ("i-0123456789abcdef0-enc0123456789abcdef") and by the instance in front of it
	// ("i-0123456789abcdef0"). Nil: none, and Facts.Revocation says not_checked, which
	// the floor refuses.
	Denied func(id string) bool
}

// Verifier implements [attest.Verifier].
type Verifier struct {
	cfg    Config
	chains *verified.Cache[*chain]
}

var _ attest.Verifier = (*Verifier)(nil)

// New makes a Verifier.
func New(cfg Config) (*Verifier, error) {
	switch {
	case cfg.Type == "":
		cfg.Type = attest.TypeNitro
	case cfg.Type != attest.TypeNitro && cfg.Type != attest.TypeNitro.Simulated():
		return nil, fmt.Errorf("nitro verifier: type %q", cfg.Type)
	case cfg.Type != attest.TypeNitro && len(cfg.Roots) == 0:
		return nil, fmt.Errorf("nitro verifier: a simulation needs roots of its own")
	}
	if len(cfg.Roots) == 0 {
		root, err := AWSRoot()
		if err != nil {
			return nil, err
		}
		cfg.Roots = []*x509.Certificate{root}
	}
	for _, c := range cfg.Roots {
		if err := checkCA(c); err != nil {
			return nil, fmt.Errorf("nitro verifier: root: %w", err)
		}
	}
	return &Verifier{cfg: cfg, chains: verified.NewCache[*chain](cacheSize)}, nil
}

// Anchors are the roots trusted, DER.
func (v *Verifier) Anchors() [][]byte {
	var out [][]byte
	for _, c := range v.cfg.Roots {
		out = append(out, c.Raw)
	}
	return out
}

// Verify implements [attest.Verifier]. In this order, each step on what the one
// before proved:
//   - the document is COSE_Sign1 with ES384, one spelling, all of it read
//   - its certificates chain to a root, in their order, and are in time
//   - the leaf signed it while all of them were; for a release, less than five minutes
//     from the time of appraisal
//   - user_data is the runtime data's hash, nonce its nonce, public_key absent or the
//     hash of its recipient; a raw value to compare with is compared with nonce
//   - the deny list does not name it, and it is not in debug mode
//
// From the deny list on, a Rejection carries the identity, which is of the module id:
// an enclave that is started again is another one.
func (v *Verifier) Verify(_ context.Context, ev attest.Evidence, want attest.Expect) (*attest.Result, error) {
	signed, rej := binding.Signed(ev.RuntimeData, want)
	if rej != nil {
		return nil, rej
	}
	raw, rej := v.decode(ev)
	if rej != nil {
		return nil, rej
	}
	doc, rej := v.authenticate(raw, want.At)
	if rej == nil {
		rej = madeNow(doc, want)
	}
	if rej != nil {
		return nil, rej
	}
	if rej := bound(doc, signed, ev.RuntimeData, want); rej != nil {
		return nil, rej
	}
	res := &attest.Result{
		Type:      v.cfg.Type,
		Authority: doc.chain.authority,
		Identity:  attest.Identify(v.cfg.Type, []byte(doc.moduleID)),
		Facts:     attest.Facts{Chain: true, Signature: true, Revocation: attest.NotChecked},
	}
	rej = v.judge(res, doc)
	if rej == nil {
		rej = binding.Bind(res, ev.RuntimeData, want)
	}
	if rej != nil {
		rej.Identity = &res.Identity
		return nil, rej
	}
	return res, nil
}

// decode bounds and reads the body.
func (v *Verifier) decode(ev attest.Evidence) ([]byte, *attest.Rejection) {
	var body format.Evidence
	if rej := binding.Body(ev, v.cfg.Type, maxBody, &body, &body.Type); rej != nil {
		return nil, rej
	}
	if len(ev.Endorsements) > 0 {
		return nil, attest.Reject(attest.CheckMalformed, "endorsements beside a document that brings its own certificates")
	}
	if len(body.Document) > MaxDocument {
		return nil, attest.Reject(attest.CheckMalformed, "document of %d bytes, limit %d", len(body.Document), MaxDocument)
	}
	return body.Document, nil
}

// authenticate proves that an NSM below a root made the document.
func (v *Verifier) authenticate(raw []byte, at time.Time) (*document, *attest.Rejection) {
	msg, err := parseSign1(raw)
	if err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "document: %w", err)
	}
	doc, err := parsePayload(msg.payload)
	if err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "document: %w", err)
	}
	var rej *attest.Rejection
	if doc.chain, rej = v.chain(doc, at); rej != nil {
		return nil, rej
	}
	if !msg.signedBy(doc.chain.key) {
		return nil, attest.Reject(attest.CheckSignature, "the document is not signed by its certificate")
	}
	if made := time.UnixMilli(doc.timestamp); made.Before(doc.chain.from) || made.After(doc.chain.to) {
		return nil, attest.Reject(attest.CheckChainExpired, "the document was made at %s, when its certificate was not valid", made.UTC().Format(time.RFC3339))
	}
	return doc, nil
}

// madeNow refuses an old document for a release. Offline, evidence is looked at when
// there is time for it, and the life of its certificate is the bound.
func madeNow(doc *document, want attest.Expect) *attest.Rejection {
	made := time.UnixMilli(doc.timestamp)
	if want.Unbound || want.SignedData != nil || !made.Before(want.At.Add(-skew)) && !made.After(want.At.Add(skew)) {
		return nil
	}
	rej := attest.Reject(attest.CheckChainExpired, "the document was not made now")
	rej.Expected, rej.Got = "within 5 min of "+want.At.UTC().Format(time.RFC3339), made.UTC().Format(time.RFC3339)
	return rej
}

// bound checks what the caller of the NSM had it sign.
func bound(doc *document, signed, runtimeData []byte, want attest.Expect) *attest.Rejection {
	switch {
	case want.Unbound:
		return nil
	case want.SignedData != nil:
		return binding.CheckSigned(doc.nonce, signed)
	}
	if rej := binding.CheckSigned(doc.userData, signed); rej != nil {
		return rej
	}
	rd, err := binding.Parse(runtimeData)
	if err != nil {
		_, rej := binding.Recipient(runtimeData)
		return rej
	}
	if rej := binding.CheckSigned(doc.nonce, rd.Nonce); rej != nil {
		return rej
	}
	if len(doc.publicKey) == 0 {
		return nil
	}
	key := sha256.Sum256(rd.Recipient())
	return binding.CheckSigned(doc.publicKey, key[:])
}

// judge fills res with what the authentic document says.
func (v *Verifier) judge(res *attest.Result, doc *document) *attest.Rejection {
	if v.cfg.Denied != nil {
		res.Facts.Revocation = attest.Checked
		instance := doc.moduleID
		if i := strings.LastIndexByte(instance, '-'); i > 0 {
			instance = instance[:i]
		}
		if v.cfg.Denied(doc.moduleID) || v.cfg.Denied(instance) {
			return attest.Reject(attest.CheckPlatformDenied, "module %s is on the deny list", doc.moduleID)
		}
	}
	if doc.debug() {
		return attest.Reject(attest.CheckDebug, "a PCR of 0 to 2 is zero: the enclave runs in debug mode")
	}
	res.Claims = claims(doc)
	return nil
}

// debug says whether the image is unmeasured: an enclave started in debug mode has
// zeros there, and no sound one has a zero in any of the three.
func (d *document) debug() bool {
	for i := range uint64(3) {
		if len(bytes.Trim(d.pcrs[i], "\x00")) == 0 {
			return true
		}
	}
	return false
}
