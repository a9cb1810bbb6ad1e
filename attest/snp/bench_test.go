package snp_test

import (
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/snp"
)

// BenchmarkVerifyCached and BenchmarkVerifyUncached verify a report under RSA-4096
// roots, as AMD's are: of a chip that was seen before, and of one that was not
// (performance target P2: at most 0.65 of the time).
func BenchmarkVerifyCached(b *testing.B) {
	f := newFake(b)
	f.bench(b, func() *snp.Verifier { return f.ours })
}

func BenchmarkVerifyUncached(b *testing.B) {
	f := newFake(b)
	f.bench(b, func() *snp.Verifier {
		b.StopTimer()
		defer b.StartTimer()
		return f.fresh(b)
	})
}

func (f *fake) bench(b *testing.B, v func() *snp.Verifier) {
	ev := genuine(b, f.report(b, nil), f.signer.Vcek.Raw)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v().Verify(b.Context(), ev, attest.Expect{At: now, Unbound: true}); err != nil {
			b.Fatal(err)
		}
	}
}

// fresh has nothing in its caches.
func (f *fake) fresh(tb testing.TB) *snp.Verifier {
	tb.Helper()
	v, err := snp.New(snp.Config{Products: []snp.Product{{Name: snp.Milan, ARK: f.signer.Ark, ASK: f.signer.Ask, ASVK: f.signer.Asvk}}})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}
