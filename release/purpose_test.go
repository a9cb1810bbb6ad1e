package release_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/receipt"
	rt "github.com/openskr/openskr/release/releasetest"
)

func forPurpose(purpose string) release.Request {
	return rt.Request(rt.RuntimeData(func(r *binding.RuntimeData) { r.Purpose = purpose }))
}

// TestPurpose: what a key is for goes from the signed runtime data into the policy's
// input, the record and the guard; a release that says nothing has the record it had.
func TestPurpose(t *testing.T) {
	for purpose, detail := range map[string]string{"release": "", "unlock": "unlock", "format": "format"} {
		p := rt.NewPorts()
		_, err := run(t, p, forPurpose(purpose))
		var in release.Input
		if err := json.Unmarshal(p.Inputs[0], &in); err != nil {
			t.Fatal(err)
		}
		rec, g := p.Records[0], p.Guards[0]
		if in.Request.Purpose != purpose || rec.Detail[release.DetailPurpose] != detail || g.Format != (purpose == "format") || purpose == "release" && rec.Detail != nil {
			t.Errorf("%s: input %q, detail %v, guard %v", purpose, in.Request.Purpose, rec.Detail, g.Format)
		}
		// The log in memory spends no grant, so that its allow opens nothing.
		if want := purpose == "format"; (err != nil) != want || want && (release.ReasonOf(err) != release.ReasonInternal || p.Opened != 0) {
			t.Errorf("%s: %v, opened %d times", purpose, err, p.Opened)
		}
	}
	for _, other := range []string{"token", "Format", "open", "format ", "unlock,format"} {
		p := rt.NewPorts()
		if _, err := run(t, p, forPurpose(other)); release.ReasonOf(err) != release.ReasonPurpose {
			t.Errorf("%q: %v", other, err)
		}
	}
}

// TestPurposeOfADenial: a refusal says what the key was wanted for.
func TestPurposeOfADenial(t *testing.T) {
	p := rt.NewPorts()
	p.Decision = release.Decision{}
	if _, err := run(t, p, forPurpose("format")); release.ReasonOf(err) != release.ReasonPolicyDenied {
		t.Fatal(err)
	}
	if rec := p.Records[0]; rec.Decision != receipt.Deny || rec.Detail[release.DetailPurpose] != "format" {
		t.Errorf("%+v", rec)
	}
}

// BU-10: an agent that does not say its purpose, and a client of the Key Vault door, which
// cannot, do not have a disk's key.
func TestBU10PurposeLeftOut(t *testing.T) {
	for _, value := range []string{"yes", "no", ""} {
		only := func() *rt.Ports {
			p := rt.NewPorts()
			p.Key.Tags = map[string]string{release.TagLUKSOnly: value}
			return p
		}
		p := only()
		if _, err := run(t, p, forPurpose("release")); release.ReasonOf(err) != release.ReasonPurposeRequired || p.Opened != 0 {
			t.Errorf("%q, native: %v", value, err)
		}
		if p.Records[0].Reason != string(release.ReasonPurposeRequired) {
			t.Errorf("%q: %+v", value, p.Records[0])
		}
		p = only()
		if _, err := onToken(t, p, tokenRequest()); release.ReasonOf(err) != release.ReasonPurposeRequired || p.Opened != 0 {
			t.Errorf("%q, with a token: %v", value, err)
		}
		if _, err := run(t, only(), forPurpose("unlock")); err != nil {
			t.Errorf("%q, to unlock: %v", value, err)
		}
	}
}

func TestFormatGrantPermits(t *testing.T) {
	at := time.Unix(1_790_000_000, 0)
	k := &release.Key{Ref: release.KeyRef{Name: "disk", Version: "1"}, ObjectID: "o"}
	good := release.FormatGrant{ObjectID: "o", Version: "1", State: release.FormatOpen, Until: at.Unix() + 1}
	if err := good.Permits(k, "m", at); err != nil {
		t.Error(err)
	}
	var none *release.FormatGrant
	if err := none.Permits(k, "m", at); release.ReasonOf(err) != release.ReasonFormatNotGranted {
		t.Error(err)
	}
	if _, err := release.ReadFormatGrant(&release.Object{Name: "o/1", Value: []byte("{")}); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Error(err)
	}
}
