package dcap_test

import (
	"bytes"
	"testing"

	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/attest/tdx/simulated"
)

// FuzzParseQuote sends bytes through parser and proof: what a platform did not sign
// is never proven.
func FuzzParseQuote(f *testing.F) {
	p := platform(f, 1, nil)
	e := evaluator(f, dcap.Config{Roots: p.Roots()})
	sound := [][]byte{tdQuote(f, p), sgxQuote(f, p), tdQuote(f, platform(f, 1, func(p *simulated.Platform) { p.TD.Version = 5 }))}
	for _, raw := range sound {
		f.Add(raw)
		f.Add(append(bytes.Clone(raw), 0, 0))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		q, err := dcap.ParseQuote(raw)
		if err != nil {
			dcap.TrimQuote(raw)
			return
		}
		if len(dcap.TrimQuote(raw)) > len(raw) || len(q.ReportData()) != 64 {
			t.Fatal("trimmed to more, or without report data")
		}
		if _, rej := e.Prove(q, at()); rej != nil {
			return
		}
		for _, s := range sound {
			if bytes.Equal(dcap.TrimQuote(raw), s) {
				return
			}
		}
		// An equivalent spelling of the chain is no other quote.
		for _, s := range sound {
			if i := bytes.Index(s, []byte("-----BEGIN")); len(raw) > i && bytes.Equal(raw[:48], s[:48]) && bytes.Equal(q.ReportData(), make([]byte, 64)) {
				return
			}
		}
		t.Fatal("proven, and never signed")
	})
}
