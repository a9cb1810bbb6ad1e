package release_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
	rt "github.com/openskr/openskr/release/releasetest"
)

// runToken makes one request for a token and checks what must hold whatever happens:
// none is made before a committed allow, and no error comes with an answer.
func runToken(t *testing.T, m *rt.Minter, req release.Request) (*release.Released, error) {
	t.Helper()
	m.Before = func(call string) {
		if call == rt.CallMint && (len(m.Records) == 0 || m.Records[len(m.Records)-1].Decision != receipt.Allow) {
			t.Error("I1: a token was made without a committed allow")
		}
	}
	b, err := release.New(m.Config())
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := release.NewTokenBroker(b, m.TokenConfig())
	if err != nil {
		t.Fatal(err)
	}
	out, err := tokens.Token(t.Context(), req)
	if (out == nil) == (err == nil) {
		t.Errorf("answer %v with error %v", out, err)
	}
	return out, err
}

func forVault(change func(*binding.RuntimeData)) release.Request {
	return rt.Request(rt.RuntimeData(func(r *binding.RuntimeData) {
		rt.ForVault(r)
		if change != nil {
			change(r)
		}
	}))
}

func TestTokenGiven(t *testing.T) {
	m := rt.NewMinter()
	token, req := m.Token, forVault(nil)
	out, err := runToken(t, m, req)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		rt.CallBegin, rt.CallCheck, rt.CallVerify, rt.CallMachine, rt.CallVet, rt.CallRoles, rt.CallEvaluate, rt.CallEvaluate,
		rt.CallAppend, rt.CallMint, rt.CallWrap, rt.CallSign,
	}
	if got := m.Calls(); !slices.Equal(got, want) {
		t.Errorf("calls %v\nwant  %v", got, want)
	}
	var resp receipt.Response
	if err := json.Unmarshal([]byte(out.Response), &resp); err != nil {
		t.Fatal(err)
	}
	leaf := receipt.LeafHash(out.Receipt.Leaf)
	switch {
	case resp.KID != rt.VaultURL, resp.Policy != receipt.Digest{}, resp.Request != req.Digest, len(resp.Ciphertext) == 0:
		t.Errorf("response %+v", resp)
	case !bytes.Equal(m.Info, receipt.WrapInfo(req.Evidence.RuntimeData)), !bytes.Equal(m.AAD, leaf[:]):
		t.Error("the wrap is not bound to runtime data and leaf")
	case !bytes.Equal(token, make([]byte, len(token))):
		t.Error("the token is not cleared")
	}
	r, g := m.Records[0], m.Guards[0]
	states := []release.ObjectState{{Kind: release.ObjectAttestedRole, Name: "reader", Generation: 2}, {Kind: release.ObjectAttestedRole, Name: "secrets", Generation: 7}}
	switch {
	case r.Kind != receipt.KindToken, r.Decision != receipt.Allow, r.Vault != "vault", r.Object != "", r.Correlation != "c1", r.Caller.ID != "m1":
		t.Errorf("record %+v", r)
	case r.Detail["attested_roles"] != "reader@2 secrets@7", !slices.Equal(r.Caller.Roles, []string{"Key Vault Reader", "Key Vault Secrets User"}):
		t.Errorf("roles in the record: %+v %+v", r.Detail, r.Caller)
	case g.Nonce != [32]byte(r.Nonce), g.Key != nil, g.Latest, g.Machine != m.Enrolled, g.ResetCount != 3, !slices.Equal(g.Objects, states):
		t.Errorf("guard %+v", g)
	}
	made := m.Minted[0]
	if made.ID != "c1" || made.Vault != "vault" || !slices.Equal(made.Roles, states) || made.Issued.Unix() != m.Time.Unix() ||
		made.Machine != (release.ObjectState{Kind: release.ObjectMachine, Name: "m1", Generation: 1}) {
		t.Errorf("made %+v", made)
	}
	var in release.Input
	if err := json.Unmarshal(m.Inputs[0], &in); err != nil || in.Request.Key != rt.VaultURL || in.Request.Version != "" || in.Key.Name != "" || in.Key.Tags == nil {
		t.Errorf("input %s, %v", m.Inputs[0], err)
	}
}

// tokenRefusals are those of a release that make sense for a token, and its own.
func tokenRefusals() []refusal {
	out := slices.DeleteFunc(refusals(), func(r refusal) bool {
		switch r.name {
		case "purpose token", "foreign key URL", "unknown key", "unknown key and bad evidence", "disabled", "not exportable", "not yet valid", "expired",
			"policy says why", "policy fails", "policy allows with an error":
			return true
		}
		return false
	})
	only := func(r binding.RuntimeData) func(*binding.RuntimeData) {
		return func(d *binding.RuntimeData) { d.Purpose, d.Key, d.Vault = r.Purpose, r.Key, r.Vault }
	}
	return append(out,
		refusal{name: "purpose release", change: only(binding.RuntimeData{Purpose: "release", Vault: rt.VaultURL}), reason: release.ReasonPurpose},
		refusal{name: "a release", change: only(binding.RuntimeData{Purpose: "release", Key: rt.KeyURL}), reason: release.ReasonPurpose},
		refusal{name: "a key", change: only(binding.RuntimeData{Purpose: "token", Key: rt.KeyURL}), reason: release.ReasonBadRequest},
		refusal{name: "foreign vault", change: only(binding.RuntimeData{Purpose: "token", Vault: "https://other"}), reason: release.ReasonBadRequest},
		refusal{name: "roles not read", spoil: fail(rt.CallRoles, release.ReasonIntegrity), reason: release.ReasonIntegrity, record: true},
		refusal{name: "policy fails", spoil: fail(rt.CallEvaluate, release.ReasonPolicyError), reason: release.ReasonPolicyDenied, record: true},
		refusal{name: "no time for the policy", spoil: fail(rt.CallEvaluate, release.ReasonPolicyTimeout), reason: release.ReasonPolicyTimeout, record: true},
		refusal{name: "policy allows with an error", spoil: func(p *rt.Ports) {
			p.Decision = release.Decision{Allow: true}
			p.Fail[rt.CallEvaluate] = errors.New("half way")
		}, reason: release.ReasonPolicyDenied, record: true},
	)
}

func TestTokenRefusals(t *testing.T) {
	for _, c := range tokenRefusals() {
		t.Run(c.name, func(t *testing.T) {
			m := rt.NewMinter()
			if c.spoil != nil {
				c.spoil(m.Ports)
			}
			_, err := runToken(t, m, forVault(c.change))
			if err == nil || release.ReasonOf(err) != c.reason {
				t.Errorf("got %v, want %s", err, c.reason)
			}
			if len(m.Minted) != 0 || slices.Contains(m.Calls(), rt.CallMint) || slices.Contains(m.Calls(), rt.CallWrap) {
				t.Error("a token was made")
			}
			if !c.record {
				if len(m.Records) != 0 || !slices.Equal(m.Folded, []release.Reason{c.reason}) {
					t.Errorf("%d records, folded %v", len(m.Records), m.Folded)
				}
				return
			}
			if len(m.Folded) != 0 || len(m.Records) != 1 {
				t.Fatalf("%d records, folded %v", len(m.Records), m.Folded)
			}
			if r := m.Records[0]; r.Kind != receipt.KindToken || r.Decision != receipt.Deny || r.Reason != string(c.reason) || r.Caller.ID != "m1" {
				t.Errorf("record %+v", r)
			}
		})
	}
}

// TestTokenOfNobody: without an attested role there is no token, however good the evidence.
func TestTokenOfNobody(t *testing.T) {
	m := rt.NewMinter()
	m.Roles = nil
	if _, err := runToken(t, m, forVault(nil)); release.ReasonOf(err) != release.ReasonPolicyDenied || len(m.Records) != 1 {
		t.Errorf("%v, %d records", err, len(m.Records))
	}
}

// picky allows the policies of one digest.
type picky struct{ digest [32]byte }

func (p picky) Evaluate(_ context.Context, r release.ReleasePolicy, _ *release.Input) (release.Decision, error) {
	if r.Digest == p.digest {
		return release.Decision{Allow: true}, nil
	}
	return release.Decision{}, release.Refuse(release.ReasonPolicyError, "broken")
}

// TestOneRoleOfTwo: a role whose policy refuses or fails is not given, and takes
// nothing from the other.
func TestOneRoleOfTwo(t *testing.T) {
	m := rt.NewMinter()
	m.Roles[0].Policy.Digest = [32]byte{1}
	c := m.Config()
	c.Policy = picky{m.Roles[1].Policy.Digest}
	b, err := release.New(c)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := release.NewTokenBroker(b, m.TokenConfig())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Token(t.Context(), forVault(nil)); err != nil {
		t.Fatal(err)
	}
	if got := m.Minted[0].Roles; len(got) != 1 || got[0].Name != "secrets" || m.Records[0].Detail["attested_roles"] != "secrets@7" {
		t.Errorf("given %+v, recorded %+v", got, m.Records[0].Detail)
	}
}

// TestTokenUnrecorded: a log that cannot append means 503 and no token.
func TestTokenUnrecorded(t *testing.T) {
	m := rt.NewMinter()
	m.Fail[rt.CallAppend] = errors.New("disk full")
	if _, err := runToken(t, m, forVault(nil)); release.ReasonOf(err).Class() != release.ClassUnavailable || len(m.Minted) != 0 {
		t.Errorf("%v, %d made", err, len(m.Minted))
	}
}

// TestTokenPanics: whatever panics, no token is made before its record.
func TestTokenPanics(t *testing.T) {
	good := rt.NewMinter()
	if _, err := runToken(t, good, forVault(nil)); err != nil {
		t.Fatal(err)
	}
	for _, call := range good.Calls() {
		m := rt.NewMinter()
		m.Panic = call
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", call)
				}
			}()
			_, _ = runToken(t, m, forVault(nil))
		}()
	}
}

// TestTokenUnderAnOlderConfiguration: the token says the configuration under which the
// evidence was verified, not one that came in between.
func TestTokenUnderAnOlderConfiguration(t *testing.T) {
	m := rt.NewMinter()
	now := receipt.Digest{1}
	c := m.Config()
	c.Settings = func() receipt.Digest { return now }
	m.Before = func(call string) {
		if call == rt.CallVerify {
			now = receipt.Digest{2}
		}
	}
	b, err := release.New(c)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := release.NewTokenBroker(b, m.TokenConfig())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Token(t.Context(), forVault(nil)); err != nil || m.Minted[0].Config != (receipt.Digest{1}) {
		t.Errorf("%v, %+v", err, m.Minted)
	}
}

// TestStaleTokenGrant: a token is made soon after its commit or never.
func TestStaleTokenGrant(t *testing.T) {
	for _, age := range []time.Duration{-1, release.GrantLife + 1} {
		m := rt.NewMinter()
		c := m.Config()
		at := m.Time
		c.Now = func() time.Time { return at }
		m.Before = func(call string) {
			if call == rt.CallMint {
				at = at.Add(age)
			}
		}
		b, err := release.New(c)
		if err != nil {
			t.Fatal(err)
		}
		tokens, err := release.NewTokenBroker(b, m.TokenConfig())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tokens.Token(t.Context(), forVault(nil)); release.ReasonOf(err) != release.ReasonStateChanged || len(m.Minted) != 0 {
			t.Errorf("%v: %v", age, err)
		}
	}
	var none *release.TokenGrant
	for _, g := range []*release.TokenGrant{none, {}} {
		if _, err := g.Use(); err == nil {
			t.Error("a grant that nobody made")
		}
	}
}

func TestNewTokenBroker(t *testing.T) {
	m := rt.NewMinter()
	b, err := release.New(m.Config())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []release.TokenConfig{{}, {Roles: m}, {ParseVault: m.TokenConfig().ParseVault}} {
		if _, err := release.NewTokenBroker(b, c); err == nil {
			t.Errorf("%+v: a part is missing", c)
		}
	}
	if _, err := release.NewTokenBroker(nil, m.TokenConfig()); err == nil {
		t.Error("without a broker")
	}
}

// TestTokenIsNoGrantOfAKey: the release of a key does not take a token's evidence.
func TestTokenIsNoGrantOfAKey(t *testing.T) {
	p := rt.NewPorts()
	if _, err := run(t, p, forVault(nil)); release.ReasonOf(err) != release.ReasonPurpose {
		t.Errorf("%v", err)
	}
	p = rt.NewPorts()
	if _, err := run(t, p, forVault(func(r *binding.RuntimeData) { r.Purpose = binding.PurposeRelease })); release.ReasonOf(err) != release.ReasonBadRequest {
		t.Errorf("%v", err)
	}
}

// TestTokenOfUnlistedHardware rests on there being no row.
func TestTokenOfUnlistedHardware(t *testing.T) {
	m := rt.NewMinter()
	m.Result.Type = attest.TypeSNP
	m.Fail[rt.CallMachine] = release.Refuse(release.ReasonMachineUnknown, "none")
	if _, err := runToken(t, m, forVault(nil)); err != nil || m.Minted[0].Machine.Generation != 0 {
		t.Errorf("%v %+v", err, m.Minted)
	}
}
