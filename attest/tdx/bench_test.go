package tdx_test

import (
	"context"
	"errors"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tdx"
	"github.com/openskr/openskr/attest/tdx/simulated"
)

// shelf is an endorser that has everything in memory.
type shelf map[attest.Need]*attest.Document

func (s shelf) Endorse(_ context.Context, need attest.Need) (*attest.Document, error) {
	if doc, ok := s[need]; ok {
		return doc, nil
	}
	return nil, errors.New("not here")
}

func filled(b testing.TB, p *simulated.Platform) shelf {
	b.Helper()
	s := shelf{}
	for _, need := range []attest.Need{
		{Kind: attest.NeedIntelTCB, ID: "tdx/" + simulated.FMSPC()},
		{Kind: attest.NeedIntelQE, ID: "tdx"},
		{Kind: attest.NeedIntelPCKCRL, ID: "platform"},
		{Kind: attest.NeedIntelRootCRL},
	} {
		doc, err := p.Endorse(context.Background(), need)
		if err != nil {
			b.Fatal(err)
		}
		s[need] = doc
	}
	return s
}

// BenchmarkVerify is evidence without a log: cached knows collateral and attestation
// key from before, uncached checks everything.
func BenchmarkVerify(b *testing.B) {
	p := platform(b, 1, func(p *simulated.Platform) { p.TD.Events = nil })
	cfg := tdx.Config{Roots: p.Roots(), Endorser: filled(b, p)}
	ev := evidence(b, p)
	b.Run("cached", func(b *testing.B) {
		v := verifier(b, cfg)
		for b.Loop() {
			if _, err := v.Verify(b.Context(), ev, attest.Expect{At: at()}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("uncached", func(b *testing.B) {
		for b.Loop() {
			if _, err := verifier(b, cfg).Verify(b.Context(), ev, attest.Expect{At: at()}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
