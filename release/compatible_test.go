package release_test

import (
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
	"github.com/openskr/openskr/release/releasetest"
)

func tokenRequest() release.TokenRequest {
	return release.TokenRequest{
		Caller: release.InputCaller{Kind: "principal", ID: "p1", Roles: []string{"Key Vault Crypto Service Release User"}},
		Right:  []release.ObjectState{{Kind: release.ObjectPrincipal, Name: "p1", Generation: 2}},
		Key:    release.KeyRef{Vault: "vault", Name: "disk"}, URL: releasetest.KeyURL, Enc: "RSA_AES_KEY_WRAP_256",
		Token: "a.b.c", Correlation: "c1", Source: "192.0.2.0/24", Digest: sha256.Sum256([]byte("body")),
	}
}

func onToken(t *testing.T, p *releasetest.Ports, req release.TokenRequest) (*release.Wrapped, error) {
	t.Helper()
	b, err := release.New(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	return b.ReleaseOnToken(t.Context(), req)
}

func TestReleaseOnToken(t *testing.T) {
	p := releasetest.NewPorts()
	out, err := onToken(t, p, tokenRequest())
	if err != nil {
		t.Fatal(err)
	}
	if string(out.Ciphertext) != "wrapped key material" || out.KID != "k1" || out.Key.Ref.Version == "" || out.Receipt == nil {
		t.Errorf("%+v", out)
	}
	want := []string{
		releasetest.CallLookup, releasetest.CallAssert, releasetest.CallMachine, releasetest.CallCheck, releasetest.CallVet,
		releasetest.CallEvaluate, releasetest.CallAppend, releasetest.CallOpen, releasetest.CallWrap,
	}
	if got := p.Calls(); !slices.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
	rec, g := p.Records[0], p.Guards[0]
	if rec.Decision != receipt.Allow || rec.Door != "keyvault" || rec.Caller.ID != "p1" || rec.Caller.Kind != "principal" ||
		rec.Evidence.Type != "token" || rec.Evidence.Machine != "m1" || rec.Evidence.Freshness != "none" || rec.Input == (receipt.Digest{}) {
		t.Errorf("%+v %+v", rec, rec.Evidence)
	}
	req := tokenRequest()
	if g.Nonce == [32]byte{} || g.Repeat == [32]byte{} || !g.Latest || g.Key == nil || g.Machine == nil || !slices.Equal(g.Objects, req.Right) ||
		!g.NonceExpires.After(p.Time) {
		t.Errorf("%+v", g)
	}
}

// TestTokenUse: a use is one token for one key version, whatever else the request says.
// It is FR-17.
func TestTokenUse(t *testing.T) {
	use := func(change func(*releasetest.Ports, *release.TokenRequest)) [32]byte {
		p, req := releasetest.NewPorts(), tokenRequest()
		change(p, &req)
		if _, err := onToken(t, p, req); err != nil {
			t.Fatal(err)
		}
		return p.Guards[0].Nonce
	}
	first := use(func(*releasetest.Ports, *release.TokenRequest) {})
	if first != use(func(_ *releasetest.Ports, r *release.TokenRequest) {
		r.Digest, r.Enc, r.Correlation, r.Caller.ID = [32]byte{1}, "CKM_RSA_AES_KEY_WRAP", "c2", "p2"
	}) {
		t.Error("the same token makes another use of the same version")
	}
	if first == use(func(_ *releasetest.Ports, r *release.TokenRequest) { r.Token = "a.b.d" }) {
		t.Error("another token makes the same use")
	}
	if first == use(func(p *releasetest.Ports, _ *release.TokenRequest) { p.Key.Ref.Version = "f" + p.Key.Ref.Version[1:] }) {
		t.Error("another version is the same use")
	}
	if first == use(func(p *releasetest.Ports, _ *release.TokenRequest) { p.Key.ObjectID = "o2" }) {
		t.Error("another key is the same use")
	}
}

// TestRepeat: what counts as the same request is the same body of the same caller. The
// name of the key may be spelled in another case: the version is in the use itself.
func TestRepeat(t *testing.T) {
	repeat := func(change func(*release.TokenRequest)) [32]byte {
		p, req := releasetest.NewPorts(), tokenRequest()
		change(&req)
		if _, err := onToken(t, p, req); err != nil {
			t.Fatal(err)
		}
		return p.Guards[0].Repeat
	}
	first := repeat(func(*release.TokenRequest) {})
	if first != repeat(func(r *release.TokenRequest) {
		r.Correlation, r.Source, r.Caller.Roles, r.URL = "c2", "198.51.100.0/24", nil, releasetest.AliasURL
	}) {
		t.Error("a retry is another request")
	}
	for name, change := range map[string]func(*release.TokenRequest){
		"body":          func(r *release.TokenRequest) { r.Digest = [32]byte{1} },
		"caller":        func(r *release.TokenRequest) { r.Caller.ID = "p2" },
		"kind":          func(r *release.TokenRequest) { r.Caller.Kind = "machine" },
		"where it ends": func(r *release.TokenRequest) { r.Caller.Kind, r.Caller.ID = "principalp", "1" },
	} {
		if first == repeat(change) {
			t.Errorf("another %s is the same request", name)
		}
	}
}

// TestMachineRefused: a machine with an access token is refused as often as it asks; what
// is beyond its own bound is folded, and takes nothing from what others are recorded.
func TestMachineRefused(t *testing.T) {
	p := releasetest.NewPorts()
	p.Fail[releasetest.CallAssert] = attest.Reject(attest.CheckTokenIssuer, "x")
	b, err := release.New(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(id string) {
		req := tokenRequest()
		req.Caller = release.InputCaller{Kind: "machine", ID: id}
		_, _ = b.ReleaseOnToken(t.Context(), req)
	}
	for range 100 {
		ask("loud")
	}
	before := len(p.Records)
	if ask("quiet"); before == 100 || before+len(p.Folded) != 100 || len(p.Records) != before+1 {
		t.Errorf("%d records and %d folded of the one, %d records of the other", before, len(p.Folded), len(p.Records)-before)
	}
}

// TestTokenFails: whatever fails, nothing is opened, and the refusal of a known caller
// is a record that spends no token.
func TestTokenFails(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*releasetest.Ports)
		want   release.Reason
	}{
		"token": {func(p *releasetest.Ports) {
			p.Fail[releasetest.CallAssert] = attest.Reject(attest.CheckTokenIssuer, "x")
		}, "token_issuer_not_trusted"},
		"machine":    {func(p *releasetest.Ports) { p.Enrolled.Status = release.MachineDenied }, release.ReasonMachineDenied},
		"enc":        {func(p *releasetest.Ports) { p.Fail[releasetest.CallCheck] = release.Refuse(release.ReasonWrapAlg, "x") }, release.ReasonWrapAlg},
		"recipient":  {func(p *releasetest.Ports) { p.Fail[releasetest.CallVet] = release.Refuse("recipient_key_invalid", "x") }, "recipient_key_invalid"},
		"debug":      {func(p *releasetest.Ports) { p.Result.Facts.Debug = true }, "debug"},
		"migration":  {func(p *releasetest.Ports) { p.Result.Facts.Migratable = true }, "migration_allowed"},
		"revocation": {func(p *releasetest.Ports) { p.Result.Facts.Revocation = attest.NotChecked }, release.ReasonFloor},
		"unbound":    {func(p *releasetest.Ports) { p.Result.Facts.Recipient = false }, release.ReasonFloor},
		"policy":     {func(p *releasetest.Ports) { p.Decision.Allow = false }, release.ReasonPolicyDenied},
		"key":        {func(p *releasetest.Ports) { p.Key.Attributes.Exportable = false }, release.ReasonNotExportable},
		"append":     {func(p *releasetest.Ports) { p.TurnedTo = release.ReasonTokenReplayed }, release.ReasonTokenReplayed},
		"log":        {func(p *releasetest.Ports) { p.Fail[releasetest.CallAppend] = errors.New("disk") }, release.ReasonLogUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			p := releasetest.NewPorts()
			tt.change(p)
			out, err := onToken(t, p, tokenRequest())
			if release.ReasonOf(err) != tt.want || out != nil || p.Opened != 0 {
				t.Fatalf("%v, %v, opened %d, want %s", out, err, p.Opened, tt.want)
			}
			if name == "log" {
				return
			}
			rec, g := p.Records[0], p.Guards[0]
			if rec.Decision != receipt.Deny || rec.Reason != string(tt.want) || rec.Caller.ID != "p1" || rec.Object != "disk" {
				t.Errorf("%+v", rec)
			}
			if g != nil && name != "append" {
				t.Errorf("a refusal spends %+v", g)
			}
		})
	}
}

// TestTokenUnknownKey: the caller has a right to that name, so it is told.
func TestTokenUnknownKey(t *testing.T) {
	p := releasetest.NewPorts()
	p.Fail[releasetest.CallLookup] = release.Refuse(release.ReasonNotFound, "no such key")
	if _, err := onToken(t, p, tokenRequest()); release.ReasonOf(err) != release.ReasonNotFound || len(p.Records) != 0 {
		t.Errorf("%v, %d records", err, len(p.Records))
	}
}

// TestVettedOnce: a strong recipient is judged once, a weak one every time, and another
// key is another judgement.
func TestVettedOnce(t *testing.T) {
	p := releasetest.NewPorts()
	b, err := release.New(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	vets := func(token string) (n int) {
		before := len(p.Calls())
		req := tokenRequest()
		req.Token = token
		_, _ = b.ReleaseOnToken(t.Context(), req)
		for _, c := range p.Calls()[before:] {
			if c == releasetest.CallVet {
				n++
			}
		}
		return n
	}
	p.Fail[releasetest.CallVet] = release.Refuse("recipient_key_invalid", "x")
	if vets("1") != 1 || vets("2") != 1 {
		t.Error("a weak recipient is let through, or believed")
	}
	delete(p.Fail, releasetest.CallVet)
	if vets("3") != 1 || vets("4") != 0 {
		t.Error("a strong recipient is not remembered")
	}
	p.Result.Recipient = []byte(`{"kty":"RSA"}`)
	if vets("5") != 1 {
		t.Error("another recipient is believed")
	}
}
