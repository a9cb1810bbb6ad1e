package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/release/receipt"
)

// Scope is what a nonce was issued for.
type Scope struct {
	Purpose string
	Key     string // key URL exactly as requested; of a token, the vault's
}

// Ticket is a nonce that was found good.
type Ticket struct {
	Hash    [32]byte // SHA-256 of the nonce's bytes
	Expires time.Time
}

// admission is a request whose nonce is good and whose recipient is well formed;
// who sends it is not known yet.
type admission struct {
	at         time.Time
	kind       string // of the record
	url        string // of the key or vault, as requested
	runtime    *binding.RuntimeData
	ref        KeyRef
	ticket     Ticket
	thumbprint [32]byte
}

// errand is what a native request is for.
type errand struct {
	purposes []string // of the runtime data
	kind     string   // of the record
	names    func(*binding.RuntimeData) (url string, ref KeyRef, err error)
}

func (b *Broker) admit(ctx context.Context, req Request) (*admission, error) {
	return b.sent(ctx, req, errand{binding.KeyPurposes(), receipt.KindRelease, func(rd *binding.RuntimeData) (string, KeyRef, error) {
		ref, err := b.ParseKID(rd.Key)
		return rd.Key, ref, err
	}})
}

// sent admits a request on that errand and no other.
func (b *Broker) sent(ctx context.Context, req Request, on errand) (*admission, error) {
	rd, err := binding.Parse(req.Evidence.RuntimeData)
	switch {
	case errors.Is(err, binding.ErrNoNonce):
		return nil, Refuse(ReasonNonceMissing, "%w", err)
	case errors.Is(err, binding.ErrNoRecipient):
		return nil, Refuse(Reason(attest.CheckNoRecipient), "%w", err)
	case errors.Is(err, binding.ErrAmbiguous):
		return nil, Refuse(Reason(attest.CheckAmbiguous), "%w", err)
	case err != nil:
		return nil, Refuse(Reason(attest.CheckRuntimeData), "%w", err)
	case rd.Audience != b.Deployment:
		return nil, Refuse(ReasonAudience, "audience %.64q is not this deployment", rd.Audience)
	case !slices.Contains(on.purposes, rd.Purpose):
		return nil, Refuse(ReasonPurpose, "purpose %.32q, want %s here", rd.Purpose, strings.Join(on.purposes, " or "))
	}
	a := &admission{at: b.Now(), kind: on.kind, runtime: rd}
	if a.url, a.ref, err = on.names(rd); err != nil {
		return nil, Refuse(ReasonBadRequest, "what is asked for: %w", err)
	}
	// The nonce first: its MAC is cheap, and judging a key costs a stranger nothing.
	if a.ticket, err = b.Challenges.Begin(ctx, rd.Nonce, Scope{Purpose: rd.Purpose, Key: a.url}); err != nil {
		return nil, err
	}
	if a.thumbprint, err = b.Wrapper.Check(rd.Recipient(), rd.Enc); err != nil {
		return nil, err
	}
	return a, nil
}

// proven is a request of somebody who proved itself, growing towards its record: a
// machine on the native door, a principal with a machine's token on the other.
type proven struct {
	req       Request
	at        time.Time
	ref       KeyRef
	url       string // of the key, as requested
	purpose   string // as the evidence says; on the Key Vault door a release
	enc       string
	recipient []byte // JWK that was checked
	caller    InputCaller
	freshness string // "nonce" or "none"
	result    *attest.Result
	key       *Key
	machine   *Machine
	record    *Record
	input     []byte
	// guard is what the append does besides: it spends the nonce or the token, and
	// reads again what gave the caller its right.
	guard Guard
}

func (a *admission) proven(b *Broker, req Request, res *attest.Result) *proven {
	return &proven{
		req: req, at: a.at, ref: a.ref, url: a.url, purpose: a.runtime.Purpose, enc: a.runtime.Enc, recipient: a.runtime.Recipient(), result: res,
		caller: InputCaller{Kind: "machine", ID: res.Identity.ID, Roles: []string{}}, freshness: "nonce",
		guard: Guard{Nonce: a.ticket.Hash, NonceExpires: a.ticket.Expires},
		record: &Record{
			V: 1, Deployment: b.Deployment, Simulation: b.Simulation, Kind: a.kind, Decision: receipt.Allow,
			Door: string(req.Door), Correlation: req.Correlation, Request: req.Digest, Nonce: a.ticket.Hash,
			Caller: &receipt.Caller{Kind: "machine", ID: res.Identity.ID},
			Vault:  a.ref.Vault, Object: a.ref.Name, Version: a.ref.Version,
			Evidence: &receipt.Evidence{
				Type: string(res.Type), Digest: sha256.Sum256(req.Evidence.Body), Authority: res.Authority,
				Anchors: b.Anchors(), Freshness: "nonce",
			},
			Recipient: a.thumbprint, Enc: a.runtime.Enc, Config: b.Settings(), Binary: b.Binary, Detail: stated(a.runtime.Purpose),
		},
	}
}

func (p *proven) about(k *Key) {
	p.key = k
	p.record.ObjectID, p.record.Version, p.record.Generation = k.ObjectID, k.Ref.Version, k.Generation
	p.record.Policy = k.Policy.Digest
}

// identify looks up the machine that proved itself; one that is not approved
// learns nothing about keys. Hardware that needs no enrolment may be unlisted; an
// operator can deny it all the same.
func (b *Broker) identify(ctx context.Context, p *proven) (err error) {
	p.machine, err = b.Machines.Machine(ctx, p.result.Identity.ID)
	if err != nil && ReasonOf(err) == ReasonMachineUnknown && !enrols(p.result.Type) {
		p.machine = &Machine{ID: p.result.Identity.ID}
		return nil
	}
	if err != nil {
		return err
	}
	return p.machine.Standing()
}

// MaxInput bounds the input document of a policy, in bytes. What a log takes is
// more, so that no machine can send claims that leave its refusal unrecorded (I2).
const MaxInput = 256 << 10

// evaluate asks the floor, whether the recipient is strong, and then the release
// policy. nil means allow.
func (b *Broker) evaluate(ctx context.Context, p *proven) (err error) {
	if err := p.key.Usable(p.at); err != nil {
		return err
	}
	in := p.document()
	if err := b.worthy(p, in); err != nil {
		return err
	}
	d, err := b.Policy.Evaluate(ctx, p.key.Policy, in)
	p.record.References = d.References
	if len(d.Messages) > 0 {
		p.record.Messages = sha256.Sum256([]byte(strings.Join(d.Messages, "\n")))
	}
	switch {
	case err != nil:
		return err
	case !d.Allow && d.Reason == "":
		return Refuse(ReasonPolicyDenied, "release policy did not allow")
	case !d.Allow:
		return Refuse(d.Reason, "release policy: %s", strings.Join(d.Messages, "; "))
	}
	return p.key.Suits(p.purpose) // what the policy says against it tells more
}

// worthy asks what no policy is asked: the floor, and whether the recipient is the
// attested one and strong. It keeps the input document of the policy first.
func (b *Broker) worthy(p *proven, in *Input) (err error) {
	if p.input, err = json.Marshal(in); err != nil {
		return Refuse(ReasonInternal, "input document: %w", err)
	}
	if n := len(p.input); n > MaxInput {
		p.input = nil // too large to keep: the refusal is kept in its place
		return Refuse(ReasonPolicyResource, "input document of %d bytes, limit %d", n, MaxInput)
	}
	p.record.Input = sha256.Sum256(p.input)
	if err := floor(p.result, p.req.Door, b.Simulation); err != nil {
		return err
	}
	if !bytes.Equal(p.result.Recipient, p.recipient) {
		return Refuse(Reason(attest.CheckRecipientUnbound), "the verified recipient is not the one that was checked")
	}
	return b.vet(p.result.Recipient, p.record.Recipient)
}

// document is the input of the policy, the same for decision, record and replay. Of
// a token it has no key.
func (p *proven) document() *Input {
	in := &Input{
		Request: InputRequest{Key: p.url, Purpose: p.purpose, Enc: p.enc, Door: p.req.Door, Time: p.at.Unix()},
		Caller:  p.caller,
		Evidence: InputEvidence{
			Type: string(p.result.Type), Authority: p.result.Authority, Freshness: p.freshness, TCBStatus: p.result.Facts.TCBStatus,
			CollateralAge: int64(p.result.Facts.CollateralAge / time.Second),
		},
		Claims: p.result.Claims,
		Key:    InputKey{Tags: orEmpty(nil)},
	}
	if p.key != nil {
		in.Request.Version = p.key.Ref.Version
		in.Key = InputKey{Name: p.key.Ref.Name, Tags: orEmpty(p.key.Tags), Attributes: p.key.Attributes}
	}
	if p.machine.Listed() {
		in.Machine = &InputMachine{Labels: orEmpty(p.machine.Labels), Enrolled: true}
	}
	return in
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// entry is what goes to the log, with the state it rests on.
func (p *proven) entry() Entry {
	g := p.guard
	g.Key, g.Latest, g.Machine, g.ResetCount = p.key, p.key != nil && p.ref.Version == "", p.machine, p.result.Facts.ResetCount
	g.Format = p.purpose == binding.PurposeFormat
	return Entry{Record: p.record, Input: p.input, Guard: &g}
}

// deny records a refusal and gives it back as the error. A nonce is spent by it; a
// token is not, since nothing was given for it.
func (b *Broker) deny(ctx context.Context, p *proven, why error) error {
	if p.caller.Kind == "machine" && !enrols(p.result.Type) {
		if !b.refusals.record(p.at, p.caller.ID) { // on a token, the machine in it is another
			return b.stranger(p.req, why)
		}
		if !b.refusals.input(len(p.input)) {
			p.input = nil // its digest is in the record
		}
	}
	p.record.Decision, p.record.Reason = receipt.Deny, string(ReasonOf(why))
	e := Entry{Record: p.record, Input: p.input, Refusal: RefusalOf(why)}
	if p.req.Door == DoorNative {
		e.Guard = &Guard{Nonce: p.guard.Nonce, NonceExpires: p.guard.NonceExpires}
	}
	if _, err := b.Log.Append(context.WithoutCancel(ctx), e); err != nil {
		return unrecorded(fmt.Errorf("refusal (%w) not recorded: %w", why, err), err)
	}
	return why
}

// unrecorded gives an append's failure an answer that says try again, whatever
// the log called it: nobody may read a decision from what is not in the log.
func unrecorded(text, err error) error {
	reason := ReasonOf(err)
	if reason.Class() != ClassUnavailable {
		reason = ReasonLogUnavailable
	}
	e := &Error{Reason: reason, Err: text, Retry: 1}
	var from *Error
	if errors.As(err, &from) && from.Retry > 0 {
		e.Retry = from.Retry
	}
	return e
}

// unverified records a refusal of evidence: in full when the signing identity had
// been proven before the check failed, else folded. That collateral cannot be had says
// nothing about the machine: it is counted, and the same request may come again.
func (b *Broker) unverified(ctx context.Context, req Request, a *admission, why error) error {
	var r *attest.Rejection
	if !errors.As(why, &r) || r.Identity == nil || ReasonOf(why).Class() == ClassUnavailable {
		return b.stranger(req, why)
	}
	return b.deny(ctx, a.proven(b, req, &attest.Result{Type: req.Evidence.Type, Identity: *r.Identity}), why)
}

func (b *Broker) stranger(req Request, why error) error {
	b.Log.Refused(why, req.Source, req.Correlation)
	return why
}

// record makes the decision durable, in the transaction that spends the nonce or the
// token and reads the state again. It gives an ALLOW, or the refusal that it became.
func (b *Broker) record(ctx context.Context, p *proven) (*Committed, error) {
	done, err := b.Log.Append(context.WithoutCancel(ctx), p.entry())
	if err != nil {
		return nil, unrecorded(fmt.Errorf("decision not recorded, nothing is given: %w", err), err)
	}
	b.Fault("appended")
	if done.Record.Decision != receipt.Allow {
		return nil, Refuse(Reason(done.Record.Reason), "refused at the append, record %d", done.Receipt.Index)
	}
	return done, nil
}

// deliver opens the key that the record names and wraps it.
func (b *Broker) deliver(ctx context.Context, p *proven, done *Committed) ([]byte, error) {
	g, err := grant(done, p.key, b.Now)
	if err != nil {
		return nil, err
	}
	sealed, err := b.openAndWrap(ctx, g, p, done)
	if err != nil {
		return nil, fmt.Errorf("release %d recorded but not delivered: %w", done.Receipt.Index, err)
	}
	b.Fault("wrapped")
	return sealed, nil
}

// openAndWrap holds plaintext key material, and only here.
func (b *Broker) openAndWrap(ctx context.Context, g *Grant, p *proven, done *Committed) ([]byte, error) {
	material, err := b.Keys.Open(ctx, g)
	defer clear(material)
	if err != nil {
		return nil, err
	}
	b.Fault("opened")
	leaf := receipt.LeafHash(done.Receipt.Leaf)
	return b.wrapper(p.req.Door).Wrap(p.result.Recipient, p.enc, material, receipt.WrapInfo(p.req.Evidence.RuntimeData), leaf[:])
}

// kid is the released version under the URL that was asked for: a deployment has
// several names, and an agent compares with the one it knows. Of a token it is the
// vault.
func (p *proven) kid() string {
	if p.key != nil && p.ref.Version == "" {
		return p.url + "/" + p.key.Ref.Version
	}
	return p.url
}

// answer signs what the agent verifies before it uses the key.
func (b *Broker) answer(p *proven, done *Committed, sealed []byte) (*Released, error) {
	rsp := receipt.Response{
		Request: p.record.Request, KID: p.kid(), Policy: p.record.Policy, Time: done.Record.Time,
		Enc: p.enc, Ciphertext: sealed, Receipt: done.Receipt,
	}
	if p.key != nil { // the append has read again that its generation is still this one
		rsp.Kty, rsp.Tags = p.key.Kty, p.key.Tags
	}
	payload, err := json.Marshal(rsp)
	if err != nil {
		return nil, Refuse(ReasonInternal, "response: %w", err)
	}
	jws, err := b.Signer.Sign(payload)
	if err != nil {
		return nil, Refuse(ReasonInternal, "response signature: %w", err)
	}
	return &Released{Response: jws, Receipt: done.Receipt}, nil
}
