package releasetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// Calls of Ports, in the order of an allowed release.
const (
	CallBegin    = "challenges.begin"
	CallCheck    = "wrapper.check"
	CallFind     = "keys.find"
	CallVerify   = "verifier.verify"
	CallLookup   = "keys.lookup" // with the next, of a release on a token
	CallAssert   = "assertions.assert"
	CallMachine  = "machines.machine"
	CallVet      = "wrapper.vet"
	CallEvaluate = "policy.evaluate"
	CallAppend   = "log.append"
	CallOpen     = "keys.open"
	CallWrap     = "wrapper.wrap"
	CallSign     = "signer.sign"
	CallRefused  = "log.refused"
)

// Ports is every port of a Broker, in memory and scripted: as made by NewPorts it
// allows a release; fields change what a port answers, Fail and Panic make a call
// go wrong, and the calls are written down.
type Ports struct {
	Result   *attest.Result
	Key      *release.Key
	Enrolled *release.Machine
	Decision release.Decision
	Material []byte         // what Open gives; cleared by the Broker
	TurnedTo release.Reason // when set, the append writes a denial instead of an allow
	Time     time.Time
	Fail     map[string]error // by call
	Panic    string           // a call
	// Before, when set, runs at the start of every call.
	Before func(call string)

	mu      sync.Mutex
	calls   []string
	Records []*release.Record
	Inputs  [][]byte
	Kept    []*release.Refusal
	Guards  []*release.Guard
	Folded  []release.Reason // refusals of strangers
	Opened  int              // times that material was given out
	Info    []byte           // of the last wrap
	AAD     []byte
}

var (
	_ release.Challenges = (*Ports)(nil)
	_ release.Keys       = (*Ports)(nil)
	_ release.Machines   = (*Ports)(nil)
	_ release.Policy     = (*Ports)(nil)
	_ release.Log        = (*Ports)(nil)
	_ release.Wrapper    = (*Ports)(nil)
	_ release.Signer     = (*Ports)(nil)
	_ attest.Verifier    = (*Ports)(nil)
	_ attest.Asserter    = (*Ports)(nil)
)

// Recipient is the JWK that NewPorts and RuntimeData agree on.
const Recipient = `{"kty":"HPKE","kem":16,"pub":"AA"}`

// Deployment and KeyURL are those of Config and RuntimeData.
const (
	Deployment = "d1"
	KeyURL     = "https://vault/keys/disk"
	AliasURL   = "https://old-name/keys/disk" // names the same key
	version    = "0123456789abcdef0123456789abcdef"
)

// NewPorts gives ports that allow a release.
func NewPorts() *Ports {
	policy := []byte("package release")
	return &Ports{
		Result: &attest.Result{
			Type: attest.TypeTPM, Authority: "ak-ca", Identity: attest.Identity{Kind: "tpm", ID: "m1"}, Claims: attest.Claims{"secureboot": true},
			Recipient: []byte(Recipient),
			Facts: attest.Facts{
				Chain: true, Signature: true, Bound: true, Recipient: true, Resident: true, Revocation: attest.Checked, ResetCount: 3,
			},
		},
		Key: &release.Key{
			Ref: release.KeyRef{Vault: "vault", Name: "disk", Version: version}, KID: KeyURL + "/" + version, ObjectID: "o1", Generation: 4,
			Kty: "oct", Attributes: release.Attributes{Enabled: true, Exportable: true},
			Policy: release.ReleasePolicy{ContentType: release.ContentTypeRego, Data: policy, Digest: sha256.Sum256(policy)},
		},
		Enrolled: &release.Machine{ID: "m1", Status: release.MachineApproved, Epoch: 1, Labels: map[string]string{"site": "a"}},
		Decision: release.Decision{Allow: true},
		Material: []byte("key material"),
		Time:     time.Unix(1_800_000_000, 0),
		Fail:     map[string]error{},
	}
}

// Config gives a Broker's configuration that stands on p.
func (p *Ports) Config() release.Config {
	none := func() receipt.Digest { return receipt.Digest{} }
	return release.Config{
		Deployment: Deployment, Binary: "test", Settings: none, Anchors: none, ParseKID: p.parseKID, Challenges: p, Keys: p,
		Machines: p, Verifier: p, Assertions: p, Policy: p, Log: p, Wrapper: p, Compatible: p, Signer: p, Now: func() time.Time { return p.Time },
	}
}

func (p *Ports) parseKID(url string) (release.KeyRef, error) {
	if url != KeyURL && url != AliasURL {
		return release.KeyRef{}, errors.New("not a key of this deployment")
	}
	return release.KeyRef{Vault: "vault", Name: "disk"}, nil
}

// RuntimeData of a good request; change may spoil it.
func RuntimeData(change func(*binding.RuntimeData)) []byte {
	rd := &binding.RuntimeData{
		Keys: []jsontext.Value{jsontext.Value(Recipient)}, Nonce: make([]byte, binding.NonceSize), Audience: Deployment,
		Purpose: binding.PurposeRelease, Key: KeyURL, Enc: "hpke-p256",
	}
	if change != nil {
		change(rd)
	}
	b, err := rd.Encode()
	if err != nil {
		panic(err) // a mistake in the test
	}
	return b
}

// Request is a good one, for that runtime data.
func Request(runtimeData []byte) release.Request {
	return release.Request{
		Door: release.DoorNative, Correlation: "c1", Source: "192.0.2.0/24", Digest: sha256.Sum256([]byte("body")),
		Evidence: attest.Evidence{Type: attest.TypeTPM, Body: []byte(`{"type":"tpm"}`), RuntimeData: runtimeData},
	}
}

// Calls gives the calls so far.
func (p *Ports) Calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// called notes a call and gives the error it was told to fail with.
func (p *Ports) called(name string) error {
	if p.Before != nil {
		p.Before(name)
	}
	p.mu.Lock()
	p.calls = append(p.calls, name)
	p.mu.Unlock()
	if p.Panic == name {
		panic("told to panic in " + name)
	}
	return p.Fail[name]
}

// Begin implements release.Challenges.
func (p *Ports) Begin(_ context.Context, nonce []byte, _ release.Scope) (release.Ticket, error) {
	if err := p.called(CallBegin); err != nil {
		return release.Ticket{}, err
	}
	return release.Ticket{Hash: sha256.Sum256(nonce), Expires: p.Time.Add(time.Minute)}, nil
}

// Check implements release.Wrapper.
func (p *Ports) Check(recipient []byte, _ string) ([32]byte, error) {
	return sha256.Sum256(recipient), p.called(CallCheck)
}

// Vet implements release.Wrapper.
func (p *Ports) Vet([]byte) error { return p.called(CallVet) }

// Find implements release.Keys.
func (p *Ports) Find(context.Context, release.KeyRef) (*release.Key, error) {
	if err := p.called(CallFind); err != nil {
		return nil, err
	}
	return p.Key, nil
}

// Lookup implements release.Keys.
func (p *Ports) Lookup(context.Context, release.KeyRef) (*release.Key, error) {
	if err := p.called(CallLookup); err != nil {
		return nil, err
	}
	return p.Key, nil
}

// Assert implements attest.Asserter.
func (p *Ports) Assert(_ context.Context, token string, _ time.Time) (*attest.Assertion, error) {
	if err := p.called(CallAssert); err != nil {
		return nil, err
	}
	res := *p.Result
	res.Type, res.Facts.Bound = attest.TypeToken, false
	return &attest.Assertion{
		Result: &res, KID: "k1", Token: sha256.Sum256([]byte(token)), Expires: p.Time.Add(time.Minute), Freshness: "none",
	}, nil
}

// Verify implements attest.Verifier.
func (p *Ports) Verify(context.Context, attest.Evidence, attest.Expect) (*attest.Result, error) {
	if err := p.called(CallVerify); err != nil {
		return nil, err
	}
	return p.Result, nil
}

// Machine implements release.Machines.
func (p *Ports) Machine(context.Context, string) (*release.Machine, error) {
	if err := p.called(CallMachine); err != nil {
		return nil, err
	}
	return p.Enrolled, nil
}

// Evaluate implements release.Policy.
func (p *Ports) Evaluate(context.Context, release.ReleasePolicy, *release.Input) (release.Decision, error) {
	return p.Decision, p.called(CallEvaluate)
}

// Append implements release.Log.
func (p *Ports) Append(_ context.Context, e release.Entry) (*release.Committed, error) {
	if err := p.called(CallAppend); err != nil {
		return nil, err
	}
	rec := *e.Record
	rec.Time = p.Time.UnixMilli()
	if p.TurnedTo != "" && rec.Decision == receipt.Allow {
		rec.Decision, rec.Reason = receipt.Deny, string(p.TurnedTo)
	}
	leaf, err := rec.Encode()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Records, p.Inputs, p.Guards = append(p.Records, &rec), append(p.Inputs, e.Input), append(p.Guards, e.Guard)
	p.Kept = append(p.Kept, e.Refusal)
	r := &release.Receipt{Leaf: leaf, Index: int64(len(p.Records) - 1)}
	return &release.Committed{Record: &rec, Receipt: r, At: p.Time}, nil
}

// Refused implements release.Log.
func (p *Ports) Refused(why error, _, _ string) {
	_ = p.called(CallRefused)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Folded = append(p.Folded, release.ReasonOf(why))
}

// Open implements release.Keys.
func (p *Ports) Open(_ context.Context, g *release.Grant) ([]byte, error) {
	if err := p.called(CallOpen); err != nil {
		return nil, err
	}
	if _, err := g.Use(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Opened++
	return p.Material, nil
}

// Wrap implements release.Wrapper: it only adds a word in front.
func (p *Ports) Wrap(_ []byte, _ string, material, info, aad []byte) ([]byte, error) {
	if err := p.called(CallWrap); err != nil {
		return nil, err
	}
	p.Info, p.AAD = info, aad
	return append([]byte("wrapped "), material...), nil
}

// Sign implements release.Signer: the payload itself.
func (p *Ports) Sign(payload []byte) (string, error) {
	return string(payload), p.called(CallSign)
}
