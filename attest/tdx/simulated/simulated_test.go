package simulated_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tdx/simulated"
)

// TestSeed: broker and simulator know each other by the seed alone, and the same day
// gives the same collateral, so that what was verified stays in the cache.
func TestSeed(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	platform := func(seed byte, now time.Time) *simulated.Platform {
		p, err := simulated.New([32]byte{seed})
		if err != nil {
			t.Fatal(err)
		}
		p.Now = func() time.Time { return now }
		return p
	}
	one, same, other := platform(1, now), platform(1, now.Add(3*time.Hour)), platform(2, now)
	if !bytes.Equal(one.Roots()[0].Raw, same.Roots()[0].Raw) || bytes.Equal(one.Roots()[0].Raw, other.Roots()[0].Raw) {
		t.Error("root does not follow from the seed")
	}
	quote := func(p *simulated.Platform) []byte {
		b, err := p.Quote([64]byte{1})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if !bytes.Equal(quote(one), quote(same)) || bytes.Equal(quote(one), quote(other)) {
		t.Error("quote does not follow from the seed")
	}
	for _, need := range []attest.Need{
		{Kind: attest.NeedIntelTCB, ID: "tdx/" + simulated.FMSPC()},
		{Kind: attest.NeedIntelQE, ID: "sgx"},
		{Kind: attest.NeedIntelPCKCRL, ID: "platform"},
		{Kind: attest.NeedIntelRootCRL},
	} {
		a, err := one.Endorse(t.Context(), need)
		if err != nil {
			t.Fatal(err)
		}
		b, err := same.Endorse(t.Context(), need)
		if err != nil || !bytes.Equal(a.Data, b.Data) || !bytes.Equal(a.Chain, b.Chain) {
			t.Errorf("%v: differs within a day, %v", need, err)
		}
	}
	if _, err := one.Endorse(t.Context(), attest.Need{Kind: attest.NeedIntelPCKCRL, ID: "processor"}); err == nil {
		t.Error("the list of a CA that is not there")
	}
}
