package token

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/internal/strict"
)

// ownAge bounds the time since iat of a token of our own service (design.md §3).
const ownAge = 5 * time.Minute

// Own is this deployment's attestation service, whose tokens are taken by
// [Asserter.Assert] alone: as evidence they would be a circle.
type Own struct {
	Deployment string
	Simulation bool
	Issuers    []string // iss of its tokens
	JWKS       []byte   // its keys, those that retire included
	// Denials names the deny list in force: a token tells no chip, so that one made
	// under another list is refused. Nil: not compared.
	Denials func() string
}

// Asserter implements [attest.Asserter]: tokens of Microsoft Azure Attestation's kind,
// of our own service and of configured issuers.
type Asserter struct {
	foreign *Verifier // nil: none is configured
	own     *Verifier
	cfg     Own
}

var _ attest.Asserter = (*Asserter)(nil)

// NewAsserter makes an Asserter. foreign may be nil; denied is as in [Config].
func NewAsserter(own Own, foreign *Verifier, denied func(id string) bool) (*Asserter, error) {
	if own.Deployment == "" || len(own.Issuers) == 0 || len(own.JWKS) == 0 || denied == nil {
		return nil, errors.New("token asserter: a part is missing")
	}
	cfg := Config{Denied: denied}
	for _, name := range own.Issuers {
		cfg.Issuers = append(cfg.Issuers, Issuer{Kind: KindMAA, Issuer: name, JWKS: own.JWKS, MaxAge: ownAge})
	}
	v, err := New(cfg)
	if err != nil {
		return nil, err
	}
	return &Asserter{foreign: foreign, own: v, cfg: own}, nil
}

// Assert implements [attest.Asserter]. The checks on the token are those of
// [Verifier.Verify]; in the place of runtime data that a request would carry, the key
// that the token vouches for is the recipient (wire.md §3.5). A token of our own must
// also be of this deployment, and say that revocation was checked.
func (a *Asserter) Assert(ctx context.Context, token string, at time.Time) (*attest.Assertion, error) {
	msg, err := jose.SplitForeign(token, MaxToken)
	if err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "%w", err)
	}
	v, t, rej := a.open(ctx, msg, at)
	if rej != nil {
		return nil, rej
	}
	if t.issuer.Kind != KindMAA {
		return nil, attest.Reject(attest.CheckTypeNotAllowed, "tokens of kind %s carry no key to wrap to", t.issuer.Kind)
	}
	said, rej := t.issuer.service.appraise(t.claims)
	if rej != nil {
		return nil, rej
	}
	out, rej := v.assertion(t, said, msg)
	if rej != nil {
		return nil, rej
	}
	if own, said := openskr(t); v == a.own {
		rej = a.ours(out, own)
	} else if said {
		rej = a.another(out, own)
	}
	if rej == nil {
		rej = v.judge(out.Result, t, said)
	}
	if rej == nil && said.belowVMPL0 {
		rej = attest.Reject(attest.CheckVMPL, "the SNP report is not of privilege level 0, which alone gets keys")
	}
	if rej != nil {
		rej.Identity = &out.Result.Identity
		return nil, rej
	}
	return out, nil
}

// open tries our own keys where the token says that we signed it.
func (a *Asserter) open(ctx context.Context, msg *jose.Foreign, at time.Time) (*Verifier, *signed, *attest.Rejection) {
	claims, err := parse(msg.Payload, MaxToken)
	if err != nil {
		return nil, nil, attest.Reject(attest.CheckMalformed, "token: %w", err)
	}
	v := a.own
	if name, _ := read(claims).text("iss"); v.issuers[name] == nil {
		if v = a.foreign; v == nil {
			return nil, nil, attest.Reject(attest.CheckTokenIssuer, "issuer %.128q is not configured", name)
		}
	}
	t, rej := v.openMessage(ctx, msg, claims, at)
	return v, t, rej
}

func (v *Verifier) assertion(t *signed, said *statement, msg *jose.Foreign) (*attest.Assertion, *attest.Rejection) {
	recipient, kid, err := encryptionKey(read(t.claims).object("x-ms-runtime"))
	if err != nil {
		return nil, attest.Reject(attest.CheckNoRecipient, "token: %w", err)
	}
	name := string(msg.Payload)
	if id, ok := read(t.claims).text("jti"); ok && id != "" {
		name = t.issuer.name() + "\x00" + id
	}
	res := v.result(t, said)
	res.Recipient, res.Facts.Recipient = recipient, true
	return &attest.Assertion{
		Result: res, KID: kid, Token: sha256.Sum256([]byte(name)),
		Expires: time.Unix(t.times.expires, 0).Add(skew), Freshness: "none",
	}, nil
}

// openskr reads the claim x-openskr (docs/attestation.md), in which this software says
// what Azure has no claim for.
func openskr(t *signed) (claim reader, said bool) {
	top := read(t.claims)
	return top.object("x-openskr"), top.has("x-openskr")
}

// ours takes over what our own service says of the machine. What it does not say is
// not proven.
func (a *Asserter) ours(out *attest.Assertion, own reader) *attest.Rejection {
	deployment, _ := own.text("deployment")
	simulation, said := own.boolean("simulation")
	kind, _ := own.text("evidence")
	machine, _ := own.text("machine")
	freshness, _ := own.text("freshness")
	_, saidMigratable := own.boolean("migratable")
	resets, _ := own.integer("reset_count")
	denials, _ := own.text("denials")
	base, simulated := attest.Type(kind).Base()
	switch err := own.failed(); {
	case err != nil:
		return attest.Reject(attest.CheckMalformed, "token: %w", err)
	case deployment != a.cfg.Deployment || !said || simulation != a.cfg.Simulation:
		return attest.Reject(attest.CheckTokenIssuer, "the token is of deployment %.64q", deployment)
	case simulated && !a.cfg.Simulation || base == "" || machine == "":
		return attest.Reject(attest.CheckTypeNotAllowed, "the token rests on evidence of type %.32q", kind)
	case freshness != "none" && freshness != "nonce":
		return attest.Reject(attest.CheckMalformed, "the token says nothing of its freshness")
	case a.cfg.Denials != nil && denials != a.cfg.Denials():
		return attest.Reject(attest.CheckTokenExpired, "the deny list changed since the token was made; ask for another")
	case resets < 0 || resets > math.MaxUint32:
		return attest.Reject(attest.CheckMalformed, "token: reset count %d", resets)
	}
	res := out.Result
	if simulated {
		res.Type = res.Type.Simulated()
	}
	res.Identity = attest.Identity{Kind: kind, ID: machine}
	res.Facts.Migratable = res.Facts.Migratable || !saidMigratable
	res.Facts.ResetCount = uint32(resets)
	out.Freshness = freshness
	return worse(res, own)
}

// another takes over what the service of another deployment says against its machine:
// its operator is trusted as any issuer is, and not to speak for us.
func (a *Asserter) another(out *attest.Assertion, own reader) *attest.Rejection {
	deployment, _ := own.text("deployment")
	simulation, _ := own.boolean("simulation")
	kind, _ := own.text("evidence")
	_, simulated := attest.Type(kind).Base()
	switch err := own.failed(); {
	case err != nil:
		return attest.Reject(attest.CheckMalformed, "token: %w", err)
	case deployment == a.cfg.Deployment: // configured under another of our names
		return attest.Reject(attest.CheckTokenIssuer, "the token is of this deployment, and not under one of its hosts")
	case (simulation || simulated) && !a.cfg.Simulation:
		return attest.Reject(attest.CheckTypeNotAllowed, "the token is of a simulation")
	}
	if simulation || simulated {
		out.Result.Type = out.Result.Type.Simulated()
	}
	return worse(out.Result, own)
}

// worse takes over what is said against the machine, and the TCB status where Azure's
// claims have none.
func worse(res *attest.Result, own reader) *attest.Rejection {
	migratable, _ := own.boolean("migratable")
	revocation, _ := own.text("revocation")
	tcb, _ := own.text("tcb_status")
	if err := own.failed(); err != nil {
		return attest.Reject(attest.CheckMalformed, "token: %w", err)
	}
	res.Facts.Migratable = res.Facts.Migratable || migratable
	if res.Facts.TCBStatus == "" || tcb != "" && tcb != res.Facts.TCBStatus {
		res.Facts.TCBStatus = tcb
	}
	if attest.Status(revocation) != attest.Checked {
		res.Facts.Revocation = attest.NotChecked
	}
	return nil
}

// Keys of a virtual machine that are no transport keys, whatever use they claim: one
// attests, and both belong to the machine and not to whoever asks.
func machineKeys() []string { return []string{"HCLAkPub", "HCLEkPub"} }

// privateMembers are those of an RSA or symmetric key that is no public one (RFC 7518 §6).
func privateMembers() []string { return []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} }

// encryptionKey is the first RSA key of runtime claims that is for encryption, as
// nothing but {"kty","n","e"}; and its kid. Only the top level counts: an Azure guest's
// token nests its hardware's runtime claims too.
func encryptionKey(runtime reader) (jwk []byte, kid string, err error) {
	for _, k := range runtime.objects("keys") {
		kid, _ := k.text("kid")
		if kty, _ := k.text("kty"); kty != "RSA" || slices.Contains(machineKeys(), kid) || !encrypts(k) {
			continue
		}
		if slices.ContainsFunc(privateMembers(), k.has) { // whoever reads the token could open what is wrapped to it
			return nil, "", fmt.Errorf("the key %.64q has a private member", kid)
		}
		n, _ := k.text("n")
		e, _ := k.text("e")
		if err := runtime.failed(); err != nil {
			return nil, "", err
		}
		b, err := strict.Marshal(map[string]string{"kty": "RSA", "n": strings.TrimRight(n, "="), "e": e})
		return b, kid, err
	}
	if err := runtime.failed(); err != nil {
		return nil, "", err
	}
	return nil, "", fmt.Errorf("no RSA encryption key in x-ms-runtime.keys")
}

// encrypts says whether a key is for encryption: use, which documents spell key_use
// too, or key_ops, which some libraries write as one string. One that signs too is not:
// it decrypts what it signs.
func encrypts(k reader) bool {
	ops := k.texts("key_ops")
	if slices.Contains(ops, "sign") || slices.Contains(ops, "verify") {
		return false
	}
	for _, name := range []string{"use", "key_use"} {
		if k.has(name) {
			use, _ := k.text(name)
			return use == "enc"
		}
	}
	return slices.Contains(ops, "encrypt")
}
