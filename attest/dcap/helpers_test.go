package dcap_test

import (
	"context"
	"encoding/hex"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/attest/tdx/simulated"
)

// at is the time of appraisal of tests with simulated hardware.
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

func evaluator(t testing.TB, cfg dcap.Config) *dcap.Evaluator {
	t.Helper()
	e, err := dcap.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// tdQuote and sgxQuote are quotes over nothing.
func tdQuote(t testing.TB, p *simulated.Platform) []byte {
	t.Helper()
	b, err := p.Quote([64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sgxQuote(t testing.TB, p *simulated.Platform) []byte {
	t.Helper()
	b, err := p.SGXQuote([64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// evaluate parses, proves and appraises a quote.
func evaluate(t testing.TB, e *dcap.Evaluator, raw []byte, at time.Time) (*dcap.Appraisal, *attest.Rejection) {
	t.Helper()
	q, err := dcap.ParseQuote(raw)
	if err != nil {
		return nil, attest.Reject(attest.CheckMalformed, "%w", err)
	}
	p, rej := e.Prove(q, at)
	if rej != nil {
		return nil, rej
	}
	return e.Appraise(t.Context(), p, at)
}

// all asks p once for everything, so that it stays the same.
func all(t testing.TB, p *simulated.Platform) documents {
	t.Helper()
	d := documents{}
	for _, need := range []attest.Need{
		{Kind: attest.NeedIntelTCB, ID: "tdx/" + simulated.FMSPC()},
		{Kind: attest.NeedIntelTCB, ID: "sgx/" + simulated.FMSPC()},
		{Kind: attest.NeedIntelQE, ID: "tdx"},
		{Kind: attest.NeedIntelQE, ID: "sgx"},
		{Kind: attest.NeedIntelPCKCRL, ID: "platform"},
		{Kind: attest.NeedIntelRootCRL},
	} {
		doc, err := p.Endorse(context.Background(), need)
		if err != nil {
			t.Fatal(err)
		}
		d[need] = doc
	}
	return d
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
