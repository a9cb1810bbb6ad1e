// Package token verifies Evidence that is the signed result of an attestation
// service: a JWT of Microsoft Azure Attestation, Google Cloud Attestation
// (Confidential Space), Intel Trust Authority, or an EAT Attestation Result
// (draft-ietf-rats-ear) as Veraison and Trustee sign them.
//
// The service has judged the hardware; this package judges the token: who signed it,
// when, for whom, and whether what the service itself vouches for covers the runtime
// data. A recipient key, a nonce or a claim that the service only repeats for its
// client proves nothing and is not used (docs/claims.md).
package token

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/token/format"
	"github.com/openskr/openskr/attest/verified"
	"github.com/openskr/openskr/internal/jose"
)

// Bounds of what a stranger may send, in bytes.
const (
	MaxToken = 128 << 10
	maxBody  = MaxToken + 1<<10
)

// Times of tokens.
const (
	DefaultMaxAge = 10 * time.Minute // design.md §3
	maxMaxAge     = 24 * time.Hour
	skew          = time.Minute          // how far the clocks of service and broker may differ
	maxLife       = 366 * 24 * time.Hour // exp - iat; no service signs for longer
)

// Config holds the trust of a Verifier.
type Config struct {
	Type    attest.Type // "": attest.TypeToken
	Issuers []Issuer    // at least one
	// Endorser gives the key sets of issuers without one of their own
	// ([attest.NeedJWKS]). Nil: those issuers' tokens are refused.
	Endorser attest.Endorser
	// Denied is the deployment's deny list. It is asked for the SHA-256 of a signing
	// key's SPKI in hex, for what a token names as the machine, in lower case, and for
	// the identity's ID. Nil: none, and Facts.Revocation says not_checked.
	Denied func(id string) bool
	// Own is the issuers that this deployment signs as; none can be a foreign one.
	// "urn:openskr:…" never can.
	Own []string
}

// Verifier implements [attest.Verifier] and [attest.Inspector] for [attest.TypeToken].
type Verifier struct {
	cfg     Config
	issuers map[string]*issuer
	sets    *verified.Cache[jose.KeySet]
}

var (
	_ attest.Verifier  = (*Verifier)(nil)
	_ attest.Inspector = (*Verifier)(nil)
)

// New makes a Verifier. It refuses an issuer that it cannot tell from another, or that
// no token could satisfy.
func New(cfg Config) (*Verifier, error) {
	cfg.Type = cmp.Or(cfg.Type, attest.TypeToken)
	if base, _ := cfg.Type.Base(); base != attest.TypeToken {
		return nil, fmt.Errorf("token verifier: type %q", cfg.Type)
	}
	if len(cfg.Issuers) == 0 {
		return nil, errors.New("token verifier: no issuer given, so no token could pass")
	}
	v := &Verifier{cfg: cfg, issuers: map[string]*issuer{}, sets: verified.NewCache[jose.KeySet](4 * len(cfg.Issuers))}
	for _, c := range cfg.Issuers {
		is, err := newIssuer(c, cfg)
		if err != nil {
			return nil, fmt.Errorf("token issuer %.128q: %w", c.Issuer, err)
		}
		if v.issuers[c.Issuer] != nil {
			return nil, fmt.Errorf("token issuer %.128q is configured twice", c.Issuer)
		}
		v.issuers[c.Issuer] = is
	}
	return v, nil
}

// Anchors is what is trusted, hashed into every record: for each issuer, by name, a
// text of kind, name and audience, and its pinned key set where it has one.
func (v *Verifier) Anchors() [][]byte {
	var out [][]byte
	for _, is := range slices.SortedFunc(maps.Values(v.issuers), func(a, b *issuer) int { return strings.Compare(a.name(), b.name()) }) {
		out = append(out, []byte(is.Kind+"\x00"+is.name()+"\x00"+is.Audience))
		if is.JWKS != nil {
			out = append(out, slices.Clone(is.JWKS))
		}
	}
	return out
}

// Verify implements [attest.Verifier]. In this order, each step on what the one
// before proved:
//   - the body is one compact JWS; its payload is strict JSON without duplicate members
//   - the issuer it names is configured, and the key it names is in that issuer's set
//   - that key signed it, with an algorithm that is the key's own
//   - it is in time, fresh, and for the configured audience
//   - what the service vouches for covers the runtime data
//   - neither signing key nor machine is on the deny list; debugging is off; for a
//     release, an SNP report is of VMPL 0
//
// From the deny list on, a Rejection carries the machine's identity.
func (v *Verifier) Verify(ctx context.Context, ev attest.Evidence, want attest.Expect) (*attest.Result, error) {
	if _, rej := binding.Signed(ev.RuntimeData, want); rej != nil {
		return nil, rej
	}
	t, rej := v.open(ctx, ev, want.At)
	if rej != nil {
		return nil, rej
	}
	if rej := t.covers(ev.RuntimeData, want); rej != nil {
		return nil, rej
	}
	said, rej := t.issuer.service.appraise(t.claims)
	if rej != nil {
		return nil, rej
	}
	res := v.result(t, said)
	rej = v.judge(res, t, said)
	if rej == nil && said.belowVMPL0 && want.SignedData == nil && !want.Unbound {
		rej = attest.Reject(attest.CheckVMPL, "the SNP report is not of privilege level 0, which alone gets keys")
	}
	if rej == nil {
		rej = binding.Bind(res, ev.RuntimeData, want)
	}
	if rej != nil {
		rej.Identity = &res.Identity
		return nil, rej
	}
	return res, nil
}

// signed is a token that a configured issuer signed, in time and for us.
type signed struct {
	issuer *issuer
	key    *jose.ForeignKey
	claims object
	times  times
	age    time.Duration // of the key set, 0 where it is pinned
}

// open goes from the body to a signed token.
func (v *Verifier) open(ctx context.Context, ev attest.Evidence, at time.Time) (*signed, *attest.Rejection) {
	msg, rej := v.decode(ev)
	if rej != nil {
		return nil, rej
	}
	claims, err := parse(msg.Payload, MaxToken)
	if err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "token: %w", err)
	}
	return v.openMessage(ctx, msg, claims, at)
}

// openMessage goes on with the claims of msg, which nobody has signed yet.
func (v *Verifier) openMessage(ctx context.Context, msg *jose.Foreign, claims object, at time.Time) (*signed, *attest.Rejection) {
	is, rej := v.issuerOf(claims)
	if rej != nil {
		return nil, rej
	}
	keys, age, rej := v.keys(ctx, is, at)
	if rej != nil {
		return nil, rej
	}
	key, rej := is.verify(msg, keys, at)
	if rej != nil {
		return nil, rej
	}
	times, rej := is.inForce(claims, at)
	if rej != nil {
		return nil, rej
	}
	return &signed{is, key, claims, times, age}, nil
}

func (v *Verifier) decode(ev attest.Evidence) (*jose.Foreign, *attest.Rejection) {
	var body format.Evidence
	if rej := binding.Body(ev, v.cfg.Type, maxBody, &body, &body.Type); rej != nil {
		return nil, rej
	}
	msg, err := jose.SplitForeign(body.Token, MaxToken)
	if err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "%w", err)
	}
	return msg, nil
}

// covers compares what the service vouches for with the runtime data, or offline the
// token's nonce with SignedData, byte for byte.
func (t *signed) covers(runtimeData []byte, want attest.Expect) *attest.Rejection {
	switch {
	case want.Unbound:
		return nil
	case want.SignedData != nil:
		for _, n := range t.issuer.service.nonces(t.claims) {
			if binding.CheckSigned([]byte(n), want.SignedData) == nil {
				return nil
			}
		}
		return attest.Reject(attest.CheckReportData, "no nonce of the token is the expected one")
	}
	if t.issuer.service.bound(t.claims, runtimeData) {
		return nil
	}
	return attest.Reject(attest.CheckReportData, "nothing that %s vouches for covers this runtime data", t.issuer.name())
}

// result is what a token says of its machine, bound to nothing yet.
func (v *Verifier) result(t *signed, said *statement) *attest.Result {
	return &attest.Result{
		Type:      v.cfg.Type,
		Authority: t.issuer.name(),
		Identity:  attest.Identify(v.cfg.Type, []byte(t.issuer.name()+"\x00"+said.subject)),
		Claims:    t.describe(said),
		Facts: attest.Facts{
			Chain: true, Signature: true, Revocation: v.revocation(),
			Migratable: said.migratable, TCBStatus: said.tcb, CollateralAge: t.age,
		},
	}
}

// judge applies the deny list and refuses debug evidence.
func (v *Verifier) judge(res *attest.Result, t *signed, said *statement) *attest.Rejection {
	if v.cfg.Denied != nil {
		print, err := t.key.Thumbprint()
		if err != nil {
			return attest.Reject(attest.CheckInternal, "%w", err)
		}
		if id := hex.EncodeToString(print[:]); v.cfg.Denied(id) {
			return attest.Reject(attest.CheckCertRevoked, "signing key %s is on the deny list", id)
		}
		if said.subject != "" && v.cfg.Denied(strings.ToLower(said.subject)) || v.cfg.Denied(res.Identity.ID) {
			return attest.Reject(attest.CheckPlatformDenied, "%s (%s) is on the deny list", said.subject, res.Identity.ID)
		}
	}
	switch {
	case said.debugOn:
		return attest.Reject(attest.CheckDebug, "the token says that debugging is on")
	case !said.debugOff:
		return attest.Reject(attest.CheckDebug, "the token does not say that debugging is off")
	}
	return nil
}

func (v *Verifier) revocation() attest.Status {
	if v.cfg.Denied != nil {
		return attest.Checked
	}
	return attest.NotChecked
}
