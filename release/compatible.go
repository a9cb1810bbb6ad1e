package release

import (
	"context"
	"crypto/sha256"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/release/receipt"
)

// TokenRequest is a release through the Key Vault door: a principal that the door has
// authenticated, and that has the right to release this key, presents the token of an
// attestation service.
type TokenRequest struct {
	Caller      InputCaller
	Right       []ObjectState // what gave the caller its right, read again by the append
	Key         KeyRef
	URL         string // of the key, as requested
	Enc         string
	Token       string   // compact JWS
	Correlation string   // made by the broker
	Source      string   // socket address prefix
	Digest      [32]byte // SHA-256 of the request body
}

// Wrapped is a key on its way out: the door puts it into its own envelope and signs that.
type Wrapped struct {
	Key        *Key
	KID        string // of the recipient in the token
	Ciphertext []byte
	Receipt    *Receipt
}

// ReleaseOnToken releases a key version on an attestation token (design.md §3, two front
// doors). It is Release with another beginning: the caller is known, so a missing key is
// told apart, and a token stands for nonce and evidence. A token releases a key version
// once; the same request of the same caller again within [RepeatLife] is answered anew,
// since clients retry.
// Every error is a refusal with a reason that is in the log, but for ReasonNotFound.
func (b *Broker) ReleaseOnToken(ctx context.Context, req TokenRequest) (*Wrapped, error) {
	key, err := b.Keys.Lookup(ctx, req.Key)
	if err != nil {
		return nil, err
	}
	p := b.presented(req, key)
	b.Fault("found")

	said, err := b.Assertions.Assert(ctx, req.Token, p.at)
	if err == nil {
		err = b.assert(ctx, p, said)
	}
	if err != nil {
		return nil, b.deny(ctx, p, err)
	}
	b.Fault("verified")

	if err := b.evaluate(ctx, p); err != nil {
		return nil, b.deny(ctx, p, err)
	}
	b.Fault("evaluated")

	done, err := b.record(ctx, p)
	if err != nil {
		return nil, err
	}
	sealed, err := b.deliver(ctx, p, done)
	if err != nil {
		return nil, err
	}
	return &Wrapped{Key: key, KID: said.KID, Ciphertext: sealed, Receipt: done.Receipt}, nil
}

func (b *Broker) wrapper(door Door) Wrapper {
	if door == DoorKeyVault {
		return b.Compatible
	}
	return b.Wrapper
}

// presented is the request before its token is read.
func (b *Broker) presented(req TokenRequest, key *Key) *proven {
	p := &proven{
		req: Request{Door: DoorKeyVault, Correlation: req.Correlation, Digest: req.Digest, Source: req.Source},
		at:  b.Now(), ref: req.Key, url: req.URL, purpose: binding.PurposeRelease, enc: req.Enc, caller: req.Caller, freshness: "none",
		result: &attest.Result{Type: attest.TypeToken}, guard: Guard{Objects: req.Right},
		record: &Record{
			V: 1, Deployment: b.Deployment, Simulation: b.Simulation, Kind: receipt.KindRelease, Decision: receipt.Allow,
			Door: string(DoorKeyVault), Correlation: req.Correlation, Request: req.Digest,
			Caller: &receipt.Caller{Kind: req.Caller.Kind, ID: req.Caller.ID, Roles: req.Caller.Roles},
			Vault:  key.Ref.Vault, Object: key.Ref.Name,
			Evidence: &receipt.Evidence{Type: string(attest.TypeToken), Digest: sha256.Sum256([]byte(req.Token)), Anchors: b.Anchors(), Freshness: "none"},
			Enc:      req.Enc, Config: b.Settings(), Binary: b.Binary,
		},
	}
	p.about(key)
	return p
}

// same is what a retry has in common with the request that it repeats: its bytes and
// its caller. Somebody else with the same bytes has copied them.
func (p *proven) same() [32]byte {
	h := sha256.New()
	h.Write([]byte("openskr/token-repeat/v1"))
	h.Write(p.req.Digest[:])
	h.Write([]byte(p.caller.Kind + "\x00" + p.caller.ID))
	return [32]byte(h.Sum(nil))
}

// assert takes over what the token proved, looks up whose it is, and checks the
// recipient. What a token's use is called covers the key version: one token may
// release several keys, each once.
func (b *Broker) assert(ctx context.Context, p *proven, said *attest.Assertion) error {
	p.result, p.freshness, p.recipient = said.Result, said.Freshness, said.Result.Recipient
	ev := p.record.Evidence
	ev.Type, ev.Authority, ev.Machine, ev.Freshness = string(said.Result.Type), said.Result.Authority, said.Result.Identity.ID, said.Freshness
	h := sha256.New()
	h.Write([]byte("openskr/token-use/v1"))
	h.Write(said.Token[:])
	h.Write([]byte(p.key.ObjectID + "/" + p.key.Ref.Version))
	p.guard.Nonce, p.guard.NonceExpires, p.guard.Repeat = [32]byte(h.Sum(nil)), said.Expires, p.same()
	p.record.Nonce = p.guard.Nonce
	if err := b.identify(ctx, p); err != nil {
		return err
	}
	thumbprint, err := b.Compatible.Check(p.recipient, p.enc)
	p.record.Recipient = thumbprint
	return err
}
