package audit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
)

// attestedRole writes one down and gives its present state.
func (b *bench) attestedRole(name string) release.ObjectState {
	b.t.Helper()
	_, err := b.log.ChangeObject(context.Background(), &release.Record{Operation: "attested-roles/put"}, release.ObjectAttestedRole, name,
		func(*release.Object) ([]byte, error) { return []byte(`{}`), nil })
	if err != nil {
		b.t.Fatal(err)
	}
	o, err := b.log.Objects().Object(context.Background(), release.ObjectAttestedRole, name)
	if err != nil {
		b.t.Fatal(err)
	}
	return release.ObjectState{Kind: o.Kind, Name: o.Name, Generation: o.Generation}
}

// TestPolicyOfAttestedRole: what allowed a token can be read after the role has another
// policy.
func TestPolicyOfAttestedRole(t *testing.T) {
	b := newBench(t)
	for _, text := range []string{"package release # one", "package release # two"} {
		_, err := b.log.ChangeObject(t.Context(), &release.Record{Operation: "attested-roles/put"}, release.ObjectAttestedRole, "web",
			func(*release.Object) ([]byte, error) { return json.Marshal(map[string]string{"policy": text}) })
		if err != nil {
			t.Fatal(err)
		}
	}
	p, err := b.log.Policy(t.Context(), sha256.Sum256([]byte("package release # one")))
	if err != nil || string(p.Data) != "package release # one" || p.ContentType != release.ContentTypeRego {
		t.Errorf("%+v, %v", p, err)
	}
}

// token is the entry of a token that nothing speaks against.
func (b *bench) token(m *release.Machine, roles ...release.ObjectState) release.Entry {
	e := b.allow(&release.Key{}, m)
	e.Record.Kind, e.Guard.Key, e.Guard.Objects = receipt.KindToken, nil, roles
	return e
}

// TestTokenStateInTheAppend: what a token rests on is read again by the append of its
// record, and a nonce gives one.
func TestTokenStateInTheAppend(t *testing.T) {
	b := newBench(t)
	m := b.machine("m", release.MachineApproved)
	role := b.attestedRole("web")
	gone := role
	gone.Name = "gone"
	first := b.token(m, role)
	if c := b.append(first); c.Record.Decision != receipt.Allow || c.Record.Kind != receipt.KindToken {
		t.Fatalf("%+v", c.Record)
	}
	again := b.token(m, role)
	again.Record.Nonce, again.Guard.Nonce = first.Record.Nonce, first.Guard.Nonce
	for name, c := range map[string]struct {
		e      release.Entry
		reason release.Reason
	}{
		"nonce again":         {again, release.ReasonNonceReplayed},
		"role that is not":    {b.token(m, gone), release.ReasonStateChanged},
		"role changed":        {b.token(m, role, release.ObjectState{Kind: role.Kind, Name: role.Name, Generation: role.Generation + 1}), release.ReasonStateChanged},
		"machine never seen":  {b.token(&release.Machine{ID: "other", Epoch: 1}, role), release.ReasonStateChanged},
		"machine of a former": {b.token(&release.Machine{ID: "m", Epoch: m.Epoch + 1}, role), release.ReasonStateChanged},
	} {
		if got := b.append(c.e).Record; got.Decision != receipt.Deny || got.Reason != string(c.reason) {
			t.Errorf("%s: %s %s", name, got.Decision, got.Reason)
		}
	}
	b.machine("m", release.MachineDenied)
	if got := b.append(b.token(m, role)).Record; got.Decision != receipt.Deny || got.Reason != string(release.ReasonMachineDenied) {
		t.Errorf("machine denied since: %s %s", got.Decision, got.Reason)
	}
}

// TestTokenNeedsAGuard: the log writes no allow for a token that rests on nothing.
func TestTokenNeedsAGuard(t *testing.T) {
	b := newBench(t)
	m, role := b.machine("m", release.MachineApproved), b.attestedRole("web")
	for name, spoil := range map[string]func(e *release.Entry){
		"no guard":   func(e *release.Entry) { e.Guard = nil },
		"no nonce":   func(e *release.Entry) { e.Guard.Nonce = [32]byte{} },
		"no machine": func(e *release.Entry) { e.Guard.Machine = nil },
		"no role":    func(e *release.Entry) { e.Guard.Objects = nil },
		"undecided":  func(e *release.Entry) { e.Record.Decision = "" },
	} {
		e := b.token(m, role)
		spoil(&e)
		if _, err := b.log.Append(t.Context(), e); err == nil || release.ReasonOf(err) != release.ReasonInternal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUseOnATokenInTheAppend: a release or the reading of a secret by a machine with a
// token is judged by what the token rests on, at the commit: machine and attested role.
func TestUseOnATokenInTheAppend(t *testing.T) {
	b := newBench(t)
	k := b.key("disk", "0123456789abcdef0123456789abcdef", 1)
	role := b.attestedRole("web")
	unlisted := release.ObjectState{Kind: release.ObjectMachine, Name: "m"}
	use := func(state ...release.ObjectState) *release.Record {
		t.Helper()
		return b.append(release.Entry{
			Record: &release.Record{Kind: receipt.KindOperation, Decision: receipt.Allow, Operation: "secrets/get", ObjectID: k.ObjectID},
			Guard:  &release.Guard{Key: k, Operation: true, Objects: state},
		}).Record
	}
	if r := use(unlisted, role); r.Decision != receipt.Allow {
		t.Fatalf("%+v", r)
	}
	b.machine("m", release.MachineDenied)
	if r := use(unlisted, role); r.Decision != receipt.Deny || r.Reason != string(release.ReasonStateChanged) {
		t.Errorf("hardware that was denied since: %s %s", r.Decision, r.Reason)
	}
	b.attestedRole("web")
	if r := use(role); r.Decision != receipt.Deny || r.Reason != string(release.ReasonStateChanged) {
		t.Errorf("role that changed since: %s %s", r.Decision, r.Reason)
	}
}
