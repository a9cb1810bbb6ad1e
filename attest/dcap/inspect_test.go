package dcap_test

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/attest/tdx/simulated"
)

func TestInspect(t *testing.T) {
	p := platform(t, 1, nil)
	e := evaluator(t, dcap.Config{Roots: p.Roots()})
	other, stale := all(t, platform(t, 2, nil)), all(t, platform(t, 1, issued(-31*24*time.Hour)))
	for need, doc := range all(t, p) {
		v, err := e.Inspect(need, doc, at())
		if err != nil || !v.Issued.Equal(at().Truncate(24*time.Hour).Add(-24*time.Hour)) || !v.NextUpdate.Equal(v.Issued.Add(simulated.Validity)) || v.Number == 0 {
			t.Errorf("%v: %+v, %v", need, v, err)
		}
		for name, c := range map[string]struct {
			need  attest.Need
			doc   *attest.Document
			check attest.Check
		}{
			"of another root": {need, other[need], attest.CheckCollateralInvalid},
			"stale":           {need, stale[need], attest.CheckCollateralStale},
			"empty":           {need, &attest.Document{}, attest.CheckCollateralInvalid},
			"cut":             {need, &attest.Document{Data: doc.Data[:len(doc.Data)-1], Chain: doc.Chain}, attest.CheckCollateralInvalid},
			"too long":        {need, &attest.Document{Data: make([]byte, 5<<20), Chain: doc.Chain}, attest.CheckCollateralInvalid},
			"unknown kind":    {attest.Need{Kind: attest.NeedAMDCRL, ID: need.ID}, doc, attest.CheckCollateralInvalid},
			"under an id that is not its": {
				attest.Need{Kind: need.Kind, ID: map[bool]string{true: "tdx/0123", false: "nobody"}[need.Kind == attest.NeedIntelTCB]}, doc, attest.CheckCollateralInvalid,
			},
		} {
			if name == "under an id that is not its" && need.Kind == attest.NeedIntelRootCRL {
				continue // it has no id
			}
			_, err := e.Inspect(c.need, c.doc, at())
			if rej, ok := errors.AsType[*attest.Rejection](err); !ok || rej.Check != c.check {
				t.Errorf("%v %s: %v, want %s", need, name, err, c.check)
			}
		}
	}
	// A private root beside Intel's makes no forgery of what has ended.
	for _, roots := range [][]*x509.Certificate{
		append(p.Roots(), platform(t, 2, nil).Roots()...),
		append(platform(t, 2, nil).Roots(), p.Roots()...),
	} {
		e := evaluator(t, dcap.Config{Roots: roots})
		for need, doc := range stale {
			_, err := e.Inspect(need, doc, at())
			if rej, ok := errors.AsType[*attest.Rejection](err); !ok || rej.Check != attest.CheckCollateralStale {
				t.Errorf("%v, two roots: %v", need, err)
			}
		}
	}
	crl := attest.Need{Kind: attest.NeedIntelPCKCRL, ID: "platform"}
	doc := all(t, p)[crl]
	if _, err := e.Inspect(crl, &attest.Document{Data: doc.Data}, at()); err == nil {
		t.Error("a PCK CRL without the CA's certificate is taken")
	}
	tcb := attest.Need{Kind: attest.NeedIntelTCB, ID: "tdx/" + simulated.FMSPC()}
	if _, err := e.Inspect(tcb, all(t, p)[attest.Need{Kind: attest.NeedIntelTCB, ID: "sgx/" + simulated.FMSPC()}], at()); err == nil {
		t.Error("TCB info for SGX is taken for TDX")
	}
}

// TestNumberGrows: a store that keeps the document of the higher number never goes
// back, neither to an older issue nor to an older TCB evaluation.
func TestNumberGrows(t *testing.T) {
	number := func(need attest.Need, turn func(p *simulated.Platform)) int64 {
		p := platform(t, 1, turn)
		v, err := evaluator(t, dcap.Config{Roots: p.Roots()}).Inspect(need, all(t, p)[need], at())
		if err != nil {
			t.Fatal(err)
		}
		return v.Number
	}
	for need := range all(t, platform(t, 1, nil)) {
		now, older := number(need, nil), number(need, issued(-3*24*time.Hour))
		if older >= now {
			t.Errorf("%v: %d, and %d for an older issue", need, now, older)
		}
		recovery := number(need, func(p *simulated.Platform) {
			p.Collateral.Issued, p.Collateral.Number = at().Add(-4*24*time.Hour), 18
		})
		if evaluated := need.Kind == attest.NeedIntelTCB || need.Kind == attest.NeedIntelQE; evaluated != (recovery > now) {
			t.Errorf("%v: %d, and %d for a later evaluation", need, now, recovery)
		}
	}
}

// TestInspectReal reads collateral of Intel.
func TestInspectReal(t *testing.T) {
	e := evaluator(t, dcap.Config{})
	for need, doc := range lunal(t) {
		if need.Kind == attest.NeedIntelPCKCRL {
			continue // it comes without a chain
		}
		v, err := e.Inspect(need, doc, day(t, "2026-03-18"))
		if err != nil || v.Issued.Year() != 2026 {
			t.Errorf("%v: %+v, %v", need, v, err)
		}
	}
	for need, doc := range phala(t, "tdx-06-phala/collateral.json", "tdx", "b0c06f000000", "platform") {
		if v, err := e.Inspect(need, doc, day(t, "2025-06-20")); err != nil || v.Issued.Year() != 2025 || v.Number == 0 {
			t.Errorf("%v: %+v, %v", need, v, err)
		}
	}
}
