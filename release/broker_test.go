package release_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
	rt "github.com/openskr/openskr/release/releasetest"
)

// run makes one request against ports and checks what must hold whatever happens:
// I1, material is opened only after a committed allow; and no error comes with an answer.
func run(t *testing.T, p *rt.Ports, req release.Request) (*release.Released, error) {
	t.Helper()
	return runContext(t.Context(), t, p, req)
}

func runContext(ctx context.Context, t *testing.T, p *rt.Ports, req release.Request) (*release.Released, error) {
	t.Helper()
	p.Before = func(call string) {
		if call == rt.CallOpen && (len(p.Records) == 0 || p.Records[len(p.Records)-1].Decision != receipt.Allow) {
			t.Error("I1: opened without a committed allow")
		}
	}
	b, err := release.New(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.Release(ctx, req)
	if (out == nil) == (err == nil) {
		t.Errorf("answer %v with error %v", out, err)
	}
	return out, err
}

func good() release.Request { return rt.Request(rt.RuntimeData(nil)) }

func TestAllowed(t *testing.T) {
	p := rt.NewPorts()
	p.Key.Tags = map[string]string{"luks-header": "sha256:00"}
	material := p.Material
	out, err := run(t, p, good())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		rt.CallBegin, rt.CallCheck, rt.CallVerify, rt.CallMachine, rt.CallFind, rt.CallVet, rt.CallEvaluate, rt.CallAppend,
		rt.CallOpen, rt.CallWrap, rt.CallSign,
	}
	if got := p.Calls(); !slices.Equal(got, want) {
		t.Errorf("calls %v\nwant  %v", got, want)
	}
	var resp receipt.Response
	if err := json.Unmarshal([]byte(out.Response), &resp); err != nil {
		t.Fatal(err)
	}
	leaf := receipt.LeafHash(out.Receipt.Leaf)
	switch {
	case string(resp.Ciphertext) != "wrapped key material", resp.KID != p.Key.KID, resp.Enc != "hpke-p256", resp.Request != good().Digest:
		t.Errorf("response %+v", resp)
	case !bytes.Equal(p.Info, receipt.WrapInfo(good().Evidence.RuntimeData)), !bytes.Equal(p.AAD, leaf[:]):
		t.Error("the wrap is not bound to runtime data and leaf")
	case !bytes.Equal(material, make([]byte, len(material))):
		t.Error("material is not cleared")
	case resp.Kty != "oct", !maps.Equal(resp.Tags, p.Key.Tags): // a disk's header is judged by them
		t.Errorf("type %q, tags %v", resp.Kty, resp.Tags)
	case p.Opened != 1:
		t.Errorf("opened %d times", p.Opened)
	}
}

// TestAnsweredUnderTheNameAskedFor: an agent knows one of a deployment's names and
// compares with it.
func TestAnsweredUnderTheNameAskedFor(t *testing.T) {
	p := rt.NewPorts()
	out, err := run(t, p, rt.Request(rt.RuntimeData(func(r *binding.RuntimeData) { r.Key = rt.AliasURL })))
	if err != nil {
		t.Fatal(err)
	}
	var resp receipt.Response
	if err := json.Unmarshal([]byte(out.Response), &resp); err != nil || resp.KID != rt.AliasURL+"/"+p.Key.Ref.Version {
		t.Errorf("kid %q, %v", resp.KID, err)
	}
}

// TestLargeInput: claims too large to keep are a recorded denial (I2).
func TestLargeInput(t *testing.T) {
	for _, c := range []struct {
		size   int
		reason release.Reason
	}{{release.MaxInput / 2, ""}, {release.MaxInput, release.ReasonPolicyResource}, {4 << 20, release.ReasonPolicyResource}} {
		p := rt.NewPorts()
		p.Result.Claims = attest.Claims{"long": strings.Repeat("x", c.size)}
		_, err := run(t, p, good())
		if (err != nil) != (c.reason != "") || err != nil && release.ReasonOf(err) != c.reason {
			t.Fatalf("%d bytes: %v", c.size, err)
		}
		if r := p.Records[0]; r.Reason != string(c.reason) {
			t.Errorf("%d bytes: recorded %s %q", c.size, r.Decision, r.Reason)
		}
		if c.reason != "" && (p.Records[0].Input != receipt.Digest{} || len(p.Inputs[0]) > 4<<10 || slices.Contains(p.Calls(), rt.CallEvaluate)) {
			t.Errorf("%d bytes: %d bytes kept, calls %v", c.size, len(p.Inputs[0]), p.Calls())
		}
	}
}

// TestRecord pins what an allow's record and guard cover (I1).
func TestRecord(t *testing.T) {
	p := rt.NewPorts()
	req := good()
	if _, err := run(t, p, req); err != nil {
		t.Fatal(err)
	}
	r, g := p.Records[0], p.Guards[0]
	rd, err := binding.Parse(req.Evidence.RuntimeData)
	if err != nil {
		t.Fatal(err)
	}
	nonce, recipient := sum(rd.Nonce), sum(rd.Recipient())
	switch {
	case r.V != 1, r.Kind != receipt.KindRelease, r.Decision != receipt.Allow, r.Reason != "", r.Door != "native", r.Deployment != rt.Deployment:
		t.Errorf("record %+v", r)
	case r.Request != req.Digest, r.Nonce != nonce, r.Policy != receipt.Digest(p.Key.Policy.Digest), r.Recipient != recipient:
		t.Errorf("digests of %+v", r)
	case r.Evidence.Digest != sum(req.Evidence.Body), r.Evidence.Type != "tpm", r.Evidence.Freshness != "nonce":
		t.Errorf("evidence %+v", r.Evidence)
	case r.Caller.ID != "m1", r.ObjectID != "o1", r.Version != p.Key.Ref.Version, r.Generation != 4, r.Correlation != "c1":
		t.Errorf("record %+v", r)
	case r.Input != sum(p.Inputs[0]):
		t.Error("the input digest is not that of the kept input")
	case g.Nonce != nonce, g.Key != p.Key, !g.Latest, g.Machine != p.Enrolled, g.ResetCount != 3:
		t.Errorf("guard %+v", g)
	}
	var in release.Input
	if err := json.Unmarshal(p.Inputs[0], &in); err != nil {
		t.Fatal(err)
	}
	if in.Request.Version != p.Key.Ref.Version || in.Request.Enc != "hpke-p256" || in.Request.Door != release.DoorNative || in.Machine.Labels["site"] != "a" ||
		in.Evidence.Freshness != "nonce" || in.Key.Tags == nil || in.Claims["secureboot"] != true {
		t.Errorf("input %s", p.Inputs[0])
	}
}

// refusal is a way for a release to end without a key.
type refusal struct {
	name   string
	spoil  func(*rt.Ports)
	change func(*binding.RuntimeData)
	reason release.Reason
	// one record of its own (I2), or folded because nobody was proven
	record bool
}

func fail(call string, r release.Reason) func(*rt.Ports) {
	return func(p *rt.Ports) { p.Fail[call] = release.Refuse(r, "told to") }
}

func refusals() []refusal {
	check := func(c attest.Check) release.Reason { return release.Reason(c) }
	stranger := []refusal{
		{name: "audience", change: func(r *binding.RuntimeData) { r.Audience = "d2" }, reason: release.ReasonAudience},
		{name: "purpose token", change: func(r *binding.RuntimeData) { r.Purpose = "token" }, reason: release.ReasonPurpose},
		{name: "foreign key URL", change: func(r *binding.RuntimeData) { r.Key = "https://other/keys/disk" }, reason: release.ReasonBadRequest},
		{name: "no nonce (FR-02)", change: func(r *binding.RuntimeData) { r.Nonce = nil }, reason: release.ReasonNonceMissing},
		{name: "no recipient", change: func(r *binding.RuntimeData) { r.Keys = nil }, reason: check(attest.CheckNoRecipient)},
		{name: "two recipients (KB-02, KB-22)", change: func(r *binding.RuntimeData) { r.Keys = append(r.Keys, r.Keys[0]) }, reason: check(attest.CheckAmbiguous)},
		{name: "no enc", change: func(r *binding.RuntimeData) { r.Enc = "" }, reason: check(attest.CheckRuntimeData)},
		{name: "nonce unknown", spoil: fail(rt.CallBegin, release.ReasonNonceUnknown), reason: release.ReasonNonceUnknown},
		{name: "recipient", spoil: fail(rt.CallCheck, check(attest.CheckRecipient)), reason: check(attest.CheckRecipient)},
		{name: "evidence", spoil: func(p *rt.Ports) {
			p.Fail[rt.CallVerify] = attest.Reject(attest.CheckSignature, "no")
		}, reason: check(attest.CheckSignature)},
		{name: "no collateral, signer known", spoil: signed(attest.CheckCollateralUnavailable), reason: check(attest.CheckCollateralUnavailable)},
		{name: "a verifier's bare error", spoil: func(p *rt.Ports) { p.Fail[rt.CallVerify] = errors.New("no") }, reason: release.ReasonInternal},
		{name: "unknown key and bad evidence", spoil: func(p *rt.Ports) {
			p.Fail[rt.CallFind] = release.Refuse(release.ReasonKeyUnavailable, "none")
			p.Fail[rt.CallVerify] = attest.Reject(attest.CheckSignature, "no")
		}, reason: check(attest.CheckSignature)},
	}
	known := []refusal{
		{name: "evidence, signer known", spoil: signed(attest.CheckEventLogReplay), reason: check(attest.CheckEventLogReplay)},
		{name: "unknown machine", spoil: fail(rt.CallMachine, release.ReasonMachineUnknown), reason: release.ReasonMachineUnknown},
		{name: "pending machine", spoil: func(p *rt.Ports) { p.Enrolled.Status = release.MachinePending }, reason: release.ReasonMachinePending},
		{name: "denied machine", spoil: func(p *rt.Ports) { p.Enrolled.Status = release.MachineDenied }, reason: release.ReasonMachineDenied},
		{name: "machine without status", spoil: func(p *rt.Ports) { p.Enrolled.Status = "" }, reason: release.ReasonMachinePending},
		{name: "unknown key", spoil: fail(rt.CallFind, release.ReasonKeyUnavailable), reason: release.ReasonKeyUnavailable},
		{name: "disabled", spoil: func(p *rt.Ports) { p.Key.Attributes.Enabled = false }, reason: release.ReasonKeyDisabled},
		{name: "not exportable", spoil: func(p *rt.Ports) { p.Key.Attributes.Exportable = false }, reason: release.ReasonNotExportable},
		{name: "not yet valid", spoil: func(p *rt.Ports) { p.Key.Attributes.NotBefore = p.Time.Unix() + 1 }, reason: release.ReasonKeyNotYetValid},
		{name: "expired", spoil: func(p *rt.Ports) { p.Key.Attributes.Expires = p.Time.Unix() }, reason: release.ReasonKeyExpired},
		{name: "floor", spoil: func(p *rt.Ports) { p.Result.Facts.Signature = false }, reason: release.ReasonFloor},
		{name: "debug", spoil: func(p *rt.Ports) { p.Result.Facts.Debug = true }, reason: check(attest.CheckDebug)},
		{name: "another recipient than checked", spoil: func(p *rt.Ports) { p.Result.Recipient = []byte(`{}`) }, reason: check(attest.CheckRecipientUnbound)},
		{name: "no verified recipient", spoil: func(p *rt.Ports) { p.Result.Recipient = nil }, reason: check(attest.CheckNoRecipient)},
		{name: "weak recipient", spoil: fail(rt.CallVet, check(attest.CheckRecipient)), reason: check(attest.CheckRecipient)},
		{name: "hardware that an operator denied", spoil: func(p *rt.Ports) {
			p.Result.Type, p.Enrolled.Status = attest.TypeSNP, release.MachineDenied
		}, reason: release.ReasonMachineDenied},
		{name: "simulated evidence", spoil: func(p *rt.Ports) { p.Result.Type = attest.TypeSNP.Simulated() }, reason: check(attest.CheckTypeNotAllowed)},
		{name: "type without a floor", spoil: func(p *rt.Ports) { p.Result.Type = "cca" }, reason: check(attest.CheckTypeNotAllowed)},
		{name: "policy says no", spoil: func(p *rt.Ports) { p.Decision = release.Decision{} }, reason: release.ReasonPolicyDenied},
		{name: "policy says why", spoil: func(p *rt.Ports) {
			p.Decision = release.Decision{Reason: release.ReasonPolicyResource, Messages: []string{"m"}}
		}, reason: release.ReasonPolicyResource},
		{name: "policy fails", spoil: fail(rt.CallEvaluate, release.ReasonPolicyError), reason: release.ReasonPolicyError},
		{name: "policy allows with an error", spoil: func(p *rt.Ports) {
			p.Decision = release.Decision{Allow: true}
			p.Fail[rt.CallEvaluate] = errors.New("half way")
		}, reason: release.ReasonInternal},
		{name: "turned at the append: replay", spoil: func(p *rt.Ports) { p.TurnedTo = release.ReasonNonceReplayed }, reason: release.ReasonNonceReplayed},
		{name: "turned at the append: state", spoil: func(p *rt.Ports) { p.TurnedTo = release.ReasonStateChanged }, reason: release.ReasonStateChanged},
	}
	for i := range known {
		known[i].record = true
	}
	return append(stranger, known...)
}

// TestRefusals: every step's refusal opens nothing, has its reason, and is either
// one record or folded, never both, never none.
func TestRefusals(t *testing.T) {
	for _, c := range refusals() {
		t.Run(c.name, func(t *testing.T) {
			p := rt.NewPorts()
			if c.spoil != nil {
				c.spoil(p)
			}
			_, err := run(t, p, rt.Request(rt.RuntimeData(c.change)))
			if err == nil || release.ReasonOf(err) != c.reason {
				t.Errorf("got %v, want %s", err, c.reason)
			}
			if p.Opened != 0 || slices.Contains(p.Calls(), rt.CallOpen) || slices.Contains(p.Calls(), rt.CallWrap) {
				t.Error("something was opened")
			}
			if _, listed := release.Reasons()[c.reason]; !listed {
				t.Errorf("%s is not on the closed list", c.reason)
			}
			if !c.record {
				// RB-12: the time of a look-up would tell what is there.
				if len(p.Records) != 0 || !slices.Equal(p.Folded, []release.Reason{c.reason}) || slices.Contains(p.Calls(), rt.CallFind) {
					t.Errorf("%d records, folded %v, calls %v", len(p.Records), p.Folded, p.Calls())
				}
				return
			}
			if len(p.Folded) != 0 || len(p.Records) != 1 {
				t.Fatalf("%d records, folded %v", len(p.Records), p.Folded)
			}
			if r := p.Records[0]; r.Decision != receipt.Deny || r.Reason != string(c.reason) || r.Caller.ID != "m1" || r.Nonce == (receipt.Digest{}) {
				t.Errorf("record %+v", r)
			}
			if k := p.Kept[0]; p.TurnedTo == "" && (k == nil || k.Check != c.reason || k.Detail == "") {
				t.Errorf("kept %+v", k)
			}
		})
	}
}

// TestRuntimeDataIsStrict is the half of KB-03 that this package sees.
func TestRuntimeDataIsStrict(t *testing.T) {
	ok := string(rt.RuntimeData(nil))
	for name, text := range map[string]string{
		"empty": "", "array": "[]", "trailing": ok + "{}", "unknown member": strings.Replace(ok, `"enc"`, `"x":1,"enc"`, 1),
		"duplicate": strings.Replace(ok, `"enc"`, `"enc":"hpke-p256","enc"`, 1), "case": strings.Replace(ok, `"enc"`, `"Enc"`, 1),
		"nonce padded": strings.Replace(ok, `","audience"`, `=","audience"`, 1), "nonce with a line break": strings.Replace(ok, `","audience"`, `\n","audience"`, 1),
		"duplicate in key": strings.Replace(ok, `"kem"`, `"kem":17,"kem"`, 1), "bad UTF-8": strings.Replace(ok, "d1", "\xff", 1),
		"huge": strings.Replace(ok, "d1", strings.Repeat("d", binding.MaxSize), 1),
	} {
		p := rt.NewPorts()
		_, err := run(t, p, rt.Request([]byte(text)))
		if got := release.ReasonOf(err); got != release.Reason(attest.CheckRuntimeData) {
			t.Errorf("%s: %v", name, err)
		}
		if len(p.Calls()) != 1 { // the count of the refusal, and nothing else
			t.Errorf("%s: %v", name, p.Calls())
		}
	}
	odd := strings.Replace(ok, `A","audience"`, `B","audience"`, 1) // FR-09: non-zero spare bits
	if odd == ok {
		t.Fatal("the nonce's text did not change")
	}
	if _, err := run(t, rt.NewPorts(), rt.Request([]byte(odd))); release.ReasonOf(err) != release.Reason(attest.CheckRuntimeData) {
		t.Errorf("nonce with spare bits: %v", err)
	}
}

// TestUnrecorded: a log that cannot append means 503, no key, and not a word
// about the decision.
func TestUnrecorded(t *testing.T) {
	for _, cause := range []error{
		errors.New("disk full"), release.Refuse(release.ReasonLogUnavailable, "x"), release.Refuse(release.ReasonPolicyDenied, "a log has no such word"),
		context.Canceled, &release.Error{Reason: release.ReasonOverloaded, Retry: 7},
	} {
		for _, c := range append(refusals(), refusal{name: "allowed", record: true}) {
			if !c.record {
				continue
			}
			p := rt.NewPorts()
			if c.spoil != nil {
				c.spoil(p)
			}
			p.Fail[rt.CallAppend] = cause
			_, err := run(t, p, good())
			if got := release.ReasonOf(err); got.Class() != release.ClassUnavailable {
				t.Errorf("%s, %v: %v", c.name, cause, err)
			}
			var e *release.Error
			if !errors.As(err, &e) || e.Retry < 1 {
				t.Errorf("%s, %v: no Retry-After", c.name, cause)
			}
			if p.Opened != 0 || slices.Contains(p.Calls(), rt.CallOpen) {
				t.Errorf("%s, %v: opened", c.name, cause)
			}
		}
	}
}

// TestAfterTheAppend: what fails then is recorded as allowed and delivers nothing.
func TestAfterTheAppend(t *testing.T) {
	for _, call := range []string{rt.CallOpen, rt.CallWrap, rt.CallSign} {
		p := rt.NewPorts()
		material := p.Material
		p.Fail[call] = errors.New("broken")
		if _, err := run(t, p, good()); err == nil {
			t.Errorf("%s: delivered", call)
		}
		if len(p.Records) != 1 || p.Records[0].Decision != receipt.Allow {
			t.Errorf("%s: records %v", call, p.Records)
		}
		if call != rt.CallOpen && !bytes.Equal(material, make([]byte, len(material))) {
			t.Errorf("%s: material is not cleared", call)
		}
	}
}

// TestPanics: a panic in a port is the door's to contain; material is cleared, and
// nothing was opened without its record.
func TestPanics(t *testing.T) {
	for _, call := range []string{
		rt.CallBegin, rt.CallCheck, rt.CallVerify, rt.CallMachine, rt.CallFind, rt.CallVet, rt.CallEvaluate, rt.CallAppend, rt.CallOpen, rt.CallWrap, rt.CallSign,
	} {
		p := rt.NewPorts()
		material := p.Material
		p.Panic = call
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", call)
				}
			}()
			_, _ = run(t, p, good())
		}()
		if p.Opened != 0 && !bytes.Equal(material, make([]byte, len(material))) {
			t.Errorf("%s: material is not cleared", call)
		}
	}
}

// TestCancelled: a caller that goes away does not leave a decision half written.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := rt.NewPorts()
	log := &seesContext{Ports: p}
	c := p.Config()
	c.Log = log
	b, err := release.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Release(ctx, good()); err != nil {
		t.Fatal(err)
	}
	p.Decision = release.Decision{}
	_, _ = b.Release(ctx, good())
	if log.cancelled || len(p.Records) != 2 {
		t.Errorf("append saw a cancelled context (%v), %d records", log.cancelled, len(p.Records))
	}
}

type seesContext struct {
	*rt.Ports
	cancelled bool
}

func (s *seesContext) Append(ctx context.Context, e release.Entry) (*release.Committed, error) {
	s.cancelled = s.cancelled || ctx.Err() != nil
	return s.Ports.Append(ctx, e)
}

// TestFaults: the named points are passed in order, and stopping at any of them
// before the append leaves no record.
func TestFaults(t *testing.T) {
	var steps []string
	p := rt.NewPorts()
	c := p.Config()
	c.Fault = func(s string) { steps = append(steps, s) }
	b, err := release.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Release(t.Context(), good()); err != nil {
		t.Fatal(err)
	}
	want := []string{"admitted", "verified", "found", "evaluated", "appended", "opened", "wrapped"}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %v, want %v", steps, want)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(rt.RuntimeData(nil))
	f.Add(rt.RuntimeData(func(r *binding.RuntimeData) { r.Keys = append(r.Keys, jsontext.Value(`{}`)) }))
	f.Add([]byte(`{"keys":[]}`))
	f.Fuzz(func(t *testing.T, runtimeData []byte) {
		p := rt.NewPorts()
		out, err := run(t, p, rt.Request(runtimeData))
		if err == nil && (out == nil || p.Opened != 1 || len(p.Records) != 1) {
			t.Fatal("released without a record")
		}
	})
}
