// Package release is the Relying Party of RFC 9334: it decides and releases. It
// knows no HTTP, SQL or Rego; those are ports (ports.go).
//
//	Evidence ──Verify──► Result ──Evaluate──► Decision ──Append──► Receipt ┐
//	                       │                                               ├─► Grant ──Open──► material ──Wrap──► Released
//	                       └── Recipient key (from attested bytes only) ───┘
//
// Each arrow is a step of [Broker.Release], and each type is made by the step
// before it. Key material opens only against a [Grant], which exists only for a
// durable ALLOW record.
package release

import (
	"context"
	"errors"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release/receipt"
)

// Config is what a Broker stands on; every field is required.
type Config struct {
	Deployment string // id, the audience of every challenge
	Simulation bool
	Binary     string                           // version, for records
	Settings   func() receipt.Digest            // digest of the effective configuration
	Anchors    func() receipt.Digest            // digest of the trust anchors
	ParseKID   func(url string) (KeyRef, error) // key URL of this deployment to its parts
	Challenges Challenges
	Keys       Keys
	Machines   Machines
	Verifier   attest.Verifier
	Assertions attest.Asserter // tokens that are presented instead of evidence
	Policy     Policy
	Log        Log
	Wrapper    Wrapper
	Compatible Wrapper // of the Key Vault door: what Azure's clients ask for besides
	Signer     Signer
	Now        func() time.Time
	// Fault, when set, is called at each named step of a release; tests stop there.
	Fault func(step string)
}

// Broker releases keys.
type Broker struct {
	Config
	refusals budget // of hardware
	vetted   vetted // recipients
}

// New checks that nothing is missing.
func New(c Config) (*Broker, error) {
	if c.Deployment == "" || c.Settings == nil || c.Anchors == nil || c.ParseKID == nil || c.Challenges == nil || c.Keys == nil ||
		c.Machines == nil || c.Verifier == nil || c.Assertions == nil || c.Policy == nil || c.Log == nil || c.Wrapper == nil || c.Compatible == nil || c.Signer == nil || c.Now == nil {
		return nil, errors.New("release: a part of the broker is missing")
	}
	if c.Fault == nil {
		c.Fault = func(string) {}
	}
	return &Broker{Config: c}, nil
}

// Release is the product in one function: admit, verify, find, evaluate, append,
// open and wrap, answer. Every error is a refusal with a reason; nothing is
// opened before the ALLOW record is durable.
func (b *Broker) Release(ctx context.Context, req Request) (*Released, error) {
	// 1. admit: the nonce is ours, for this key and unspent; the recipient is a key.
	a, err := b.admit(ctx, req)
	if err != nil {
		return nil, b.stranger(req, err)
	}
	b.Fault("admitted")

	// 2. verify: authentic, bound to the challenge and to the recipient.
	result, err := b.Verifier.Verify(ctx, req.Evidence, attest.Expect{At: a.at})
	if err != nil {
		return nil, b.unverified(ctx, req, a, err)
	}
	p := a.proven(b, req, result)
	if err := b.identify(ctx, p); err != nil {
		return nil, b.deny(ctx, p, err)
	}
	b.Fault("verified")

	// 3. find the key version and its release policy, metadata only. Not before the
	// caller is proven: neither an answer nor its time tells a stranger what is there.
	key, err := b.Keys.Find(ctx, a.ref)
	if err != nil {
		return nil, b.deny(ctx, p, err)
	}
	p.about(key)
	b.Fault("found")

	// 4. evaluate the floor, the recipient's strength, then the key's release policy.
	if err := b.evaluate(ctx, p); err != nil {
		return nil, b.deny(ctx, p, err)
	}
	b.Fault("evaluated")

	// 5. append: one durable transaction spends the nonce and reads the state again.
	done, err := b.record(ctx, p)
	if err != nil {
		return nil, err
	}

	// 6. open against the grant, wrap to the attested recipient.
	sealed, err := b.deliver(ctx, p, done)
	if err != nil {
		return nil, err
	}

	// 7. sign the answer: the wrapped key and the receipt.
	return b.answer(p, done, sealed)
}
