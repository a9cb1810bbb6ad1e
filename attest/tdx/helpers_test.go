package tdx_test

import (
	"errors"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tdx"
	"github.com/openskr/openskr/attest/tdx/format"
	"github.com/openskr/openskr/attest/tdx/simulated"
	"github.com/openskr/openskr/internal/strict"
)

const runtimeData = `{"keys":[{"kty":"EC"}],"nonce":"AAAA","audience":"a","purpose":"release","key":"k","enc":"e"}`

// at is the time of appraisal of all tests.
func at() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

// platform makes simulated hardware, with knobs turned.
func platform(t testing.TB, seed byte, turn func(p *simulated.Platform)) *simulated.Platform {
	t.Helper()
	p, err := simulated.New([32]byte{seed})
	if err != nil {
		t.Fatal(err)
	}
	p.Now = at
	if turn != nil {
		turn(p)
	}
	return p
}

func verifier(t testing.TB, cfg tdx.Config) *tdx.Verifier {
	t.Helper()
	cfg.Type = attest.TypeTDX.Simulated()
	v, err := tdx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// trusting verifies evidence of p, with its collateral.
func trusting(t testing.TB, p *simulated.Platform) *tdx.Verifier {
	t.Helper()
	return verifier(t, tdx.Config{Roots: p.Roots(), Endorser: p})
}

func evidence(t testing.TB, p *simulated.Platform) attest.Evidence {
	t.Helper()
	ev, err := p.Evidence([]byte(runtimeData))
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// verify gives the Result or the Rejection.
func verify(t testing.TB, v attest.Verifier, ev attest.Evidence, want attest.Expect) (*attest.Result, *attest.Rejection) {
	t.Helper()
	res, err := v.Verify(t.Context(), ev, want)
	rej, _ := errors.AsType[*attest.Rejection](err)
	if (rej == nil) == (res == nil) {
		t.Fatalf("%v, %v", res, err)
	}
	return res, rej
}

// bodyOf is evidence of a quote that is bound to no runtime data.
func bodyOf(t testing.TB, p *simulated.Platform, quote, log []byte) attest.Evidence {
	t.Helper()
	body, err := strict.Marshal(format.Evidence{Type: p.Type, Quote: quote, EventLog: log})
	if err != nil {
		t.Fatal(err)
	}
	return attest.Evidence{Type: p.Type, Body: body}
}
