package snp_test

import (
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/snp/simulated"
)

var runtimeData = []byte(`{"keys":[{"kty":"EC"}],"nonce":"AAAA","audience":"d","purpose":"release","key":"https://h/keys/k","enc":"HPKE"}`)

// platform is simulated hardware whose evidence says it is AMD's, so that the tests
// run the product's own configuration but for its roots.
func platform(tb testing.TB, seed byte) *simulated.Platform {
	tb.Helper()
	p, err := simulated.New([32]byte{seed})
	if err != nil {
		tb.Fatal(err)
	}
	p.Type, p.Now = attest.TypeSNP, func() time.Time { return now }
	return p
}

func evidence(tb testing.TB, p *simulated.Platform, c simulated.Chip) attest.Evidence {
	tb.Helper()
	q := *p
	q.Chip = c
	ev, err := q.Evidence(runtimeData)
	if err != nil {
		tb.Fatal(err)
	}
	return ev
}

// verifier trusts p, with its revocation lists.
func verifier(tb testing.TB, p *simulated.Platform, change ...func(*snp.Config)) *snp.Verifier {
	tb.Helper()
	cfg := snp.Config{Type: p.Type, Products: p.Products(), Endorser: p.Endorser()}
	for _, f := range change {
		f(&cfg)
	}
	v, err := snp.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}
