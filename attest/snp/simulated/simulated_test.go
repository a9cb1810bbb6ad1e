package simulated_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/snp/simulated"
)

func platform(t *testing.T, seed byte) *simulated.Platform {
	t.Helper()
	p, err := simulated.New([32]byte{seed})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestSeed: broker and machine make the same roots of one seed, and other roots of
// another.
func TestSeed(t *testing.T) {
	a, b, c := platform(t, 1), platform(t, 1), platform(t, 2)
	for i, p := range a.Products() {
		q, r := b.Products()[i], c.Products()[i]
		if !bytes.Equal(p.ARK.Raw, q.ARK.Raw) || !bytes.Equal(p.ASK.Raw, q.ASK.Raw) || !bytes.Equal(p.ASVK.Raw, q.ASVK.Raw) {
			t.Errorf("%s: two roots of one seed", p.Name)
		}
		if bytes.Equal(p.ARK.Raw, r.ARK.Raw) {
			t.Errorf("%s: one root of two seeds", p.Name)
		}
	}
	x, err := a.Evidence([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	y, err := b.Evidence([]byte("{}"))
	if err != nil || !bytes.Equal(x.Body, y.Body) || !bytes.Equal(x.Endorsements[0].Data, y.Endorsements[0].Data) {
		t.Errorf("two pieces of evidence of one seed: %v", err)
	}
}

// TestBroker is a simulation as it is run: with today's revocation list and certificates
// fetched, and nothing AMD's verifier takes.
func TestBroker(t *testing.T) {
	p := platform(t, 1)
	rd := []byte(`{"keys":[{"kty":"EC"}],"nonce":"AAAA","audience":"d","purpose":"release","key":"https://h/keys/k","enc":"HPKE"}`)
	ev, err := p.Evidence(rd)
	if err != nil {
		t.Fatal(err)
	}
	ev.Endorsements = nil
	v, err := snp.New(snp.Config{Type: p.Type, Products: p.Products(), Endorser: p.Endorser()})
	if err != nil {
		t.Fatal(err)
	}
	res, err := v.Verify(t.Context(), ev, attest.Expect{At: time.Now()})
	if err != nil || res.Facts.Revocation != attest.Checked || res.Type != "simulated-snp" {
		t.Fatalf("%+v, %v", res, err)
	}
	amd, err := snp.New(snp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := amd.Verify(t.Context(), ev, attest.Expect{At: time.Now()}); err == nil {
		t.Error("AMD's verifier takes a simulation")
	}
}

func TestUnknown(t *testing.T) {
	p := platform(t, 1)
	if _, err := p.Report([64]byte{}, simulated.Chip{Product: "Rome"}); err == nil {
		t.Error("a report of no product")
	}
	if _, err := p.Leaf(simulated.Chip{Product: "Rome"}); err == nil {
		t.Error("a leaf of no product")
	}
	for _, need := range []attest.Need{
		{Kind: attest.NeedAMDCRL, ID: "vcek/Rome"}, {Kind: attest.NeedAMDVCEK, ID: "Milan/00"}, {Kind: attest.NeedIntelTCB},
	} {
		if _, err := p.Endorser().Endorse(t.Context(), need); err == nil {
			t.Errorf("%v is given", need)
		}
	}
}
