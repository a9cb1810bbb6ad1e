package release_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/release"
	rt "github.com/openskr/openskr/release/releasetest"
)

// refuse has the policy deny n requests of hardware that says to be id.
func refuse(t *testing.T, p *rt.Ports, b *release.Broker, id string, n int) {
	t.Helper()
	p.Result.Identity.ID = id
	for range n {
		_, err := b.Release(t.Context(), rt.Request(rt.RuntimeData(nil)))
		if release.ReasonOf(err) != release.ReasonPolicyDenied {
			t.Fatal(err)
		}
	}
}

func refusing(t *testing.T, typ attest.Type) (*rt.Ports, *release.Broker) {
	t.Helper()
	p := rt.NewPorts()
	p.Result.Type, p.Decision = typ, release.Decision{}
	p.Fail[rt.CallMachine] = release.Refuse(release.ReasonMachineUnknown, "no row")
	if typ == attest.TypeTPM {
		delete(p.Fail, rt.CallMachine)
	}
	b, err := release.New(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	return p, b
}

// TestRefusalsAreBounded: rented hardware cannot fill the log. What goes beyond is
// counted, and the next minute is a new one.
func TestRefusalsAreBounded(t *testing.T) {
	p, b := refusing(t, attest.TypeSNP)
	refuse(t, p, b, "snp-1", 40)
	if len(p.Records) != 30 || len(p.Folded) != 10 {
		t.Errorf("one machine: %d records, %d folded", len(p.Records), len(p.Folded))
	}
	for i := range 400 {
		refuse(t, p, b, fmt.Sprint("snp-x", i), 1)
	}
	if len(p.Records) != 300 || len(p.Folded) != 140 {
		t.Errorf("many machines: %d records, %d folded", len(p.Records), len(p.Folded))
	}
	p.Time = p.Time.Add(time.Minute)
	refuse(t, p, b, "snp-1", 1)
	if len(p.Records) != 301 {
		t.Errorf("a minute later: %d records", len(p.Records))
	}
}

// TestInputsAreBounded: so are the inputs beside the records; the digest stays.
func TestInputsAreBounded(t *testing.T) {
	p, b := refusing(t, attest.TypeSNP)
	p.Result.Claims = attest.Claims{"big": string(make([]byte, 40<<10))}
	kept := 0
	for i := range 100 {
		refuse(t, p, b, fmt.Sprint("snp-", i), 1)
	}
	for i, in := range p.Inputs {
		if in != nil {
			kept += len(in)
		}
		if p.Records[i].Input == (release.Record{}).Input {
			t.Error("a record without the digest of its input")
		}
	}
	if kept == 0 || kept > 2<<20 {
		t.Errorf("%d bytes kept", kept)
	}
}

// TestEnrolledMachinesAreAllRecorded: an operator let them in.
func TestEnrolledMachinesAreAllRecorded(t *testing.T) {
	p, b := refusing(t, attest.TypeTPM)
	refuse(t, p, b, "m1", 400)
	if len(p.Records) != 400 || len(p.Folded) != 0 {
		t.Errorf("%d records, %d folded", len(p.Records), len(p.Folded))
	}
}
