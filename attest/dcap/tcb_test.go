package dcap_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/attest/tdx/simulated"
)

// TestConvergence is Intel's table: the status of a TD is the worst of platform,
// module and quoting enclave.
func TestConvergence(t *testing.T) {
	for _, c := range []struct{ platform, module, qe, want string }{
		{"UpToDate", "UpToDate", "UpToDate", "UpToDate"},
		{"UpToDate", "OutOfDate", "UpToDate", "OutOfDate"},
		{"OutOfDate", "UpToDate", "UpToDate", "OutOfDate"},
		{"UpToDate", "UpToDate", "OutOfDate", "OutOfDate"},
		{"SWHardeningNeeded", "UpToDate", "UpToDate", "SWHardeningNeeded"},
		{"SWHardeningNeeded", "OutOfDate", "UpToDate", "OutOfDate"},
		{"ConfigurationNeeded", "UpToDate", "UpToDate", "ConfigurationNeeded"},
		{"ConfigurationNeeded", "OutOfDate", "UpToDate", "OutOfDateConfigurationNeeded"},
		{"ConfigurationNeeded", "UpToDate", "OutOfDate", "OutOfDateConfigurationNeeded"},
		{"ConfigurationNeeded", "SWHardeningNeeded", "UpToDate", "ConfigurationAndSWHardeningNeeded"},
		{"ConfigurationAndSWHardeningNeeded", "UpToDate", "UpToDate", "ConfigurationAndSWHardeningNeeded"},
		{"ConfigurationAndSWHardeningNeeded", "OutOfDate", "UpToDate", "OutOfDateConfigurationNeeded"},
		{"OutOfDateConfigurationNeeded", "UpToDate", "UpToDate", "OutOfDateConfigurationNeeded"},
		{"OutOfDate", "ConfigurationNeeded", "UpToDate", "OutOfDateConfigurationNeeded"},
		{"Revoked", "UpToDate", "UpToDate", ""},
		{"UpToDate", "Revoked", "UpToDate", ""},
		{"UpToDate", "UpToDate", "Revoked", ""},
		{"OutOfDateConfigurationNeeded", "Revoked", "OutOfDate", ""},
	} {
		t.Run(fmt.Sprint(c.platform, c.module, c.qe), func(t *testing.T) {
			p := platform(t, 1, func(p *simulated.Platform) {
				p.Collateral.Platform, p.Collateral.Module, p.Collateral.QE = c.platform, c.module, c.qe
			})
			a, rej := evaluate(t, evaluator(t, dcap.Config{Roots: p.Roots(), Endorser: p}), tdQuote(t, p), at())
			if c.want == "" {
				if rej == nil || rej.Check != attest.CheckTCBRevoked {
					t.Fatalf("%v, want a refusal", rej)
				}
				return
			}
			if rej != nil || a.TCB.Status != c.want || a.TCB.Platform != c.platform || a.TCB.Module != c.module || a.TCB.QE != c.qe {
				t.Errorf("%+v, %v, want %s", a, rej, c.want)
			}
		})
	}
}

func TestAppraisal(t *testing.T) {
	p := platform(t, 1, func(p *simulated.Platform) { p.Collateral.Advisories = []string{"INTEL-SA-2", "INTEL-SA-1"} })
	a, rej := evaluate(t, evaluator(t, dcap.Config{Roots: p.Roots(), Endorser: p}), tdQuote(t, p), at())
	if rej != nil {
		t.Fatal(rej)
	}
	issued := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	if a.TCB.Status != attest.TCBUpToDate || !slices.Equal(a.TCB.Advisories, []string{"INTEL-SA-1", "INTEL-SA-2"}) || a.TCB.Number != 17 ||
		!a.TCB.Issued.Equal(issued) || !a.TCB.NextUpdate.Equal(issued.Add(simulated.Validity)) || a.CollateralAge != 36*time.Hour ||
		a.Revocation != attest.Checked || a.PCK.CA != "platform" || a.PCK.FMSPCHex() != simulated.FMSPC() || a.PCK.PCESVN != 13 {
		t.Errorf("%+v, %+v", a, a.PCK)
	}
}

// TestTCB turns knobs of platform and collateral. status "" is a refusal.
// It is CC-05, CC-09 and CC-10.
func TestTCB(t *testing.T) {
	for name, c := range map[string]struct {
		turn   func(p *simulated.Platform)
		sgx    bool
		status string
		check  attest.Check
	}{
		"platform below its level":  {turn: func(p *simulated.Platform) { p.Collateral.PlatformSVN = 4 }, status: "OutOfDate"},
		"enclave on such platform":  {turn: func(p *simulated.Platform) { p.Collateral.PlatformSVN = 4 }, sgx: true, status: "OutOfDate"},
		"enclave":                   {turn: func(*simulated.Platform) {}, sgx: true, status: "UpToDate"},
		"module below its level":    {turn: func(p *simulated.Platform) { p.Collateral.ModuleSVN = 7 }, check: attest.CheckTCBUnknown},
		"module at its level":       {turn: func(p *simulated.Platform) { p.Collateral.ModuleSVN = 6 }, status: "UpToDate"},
		"module of unknown version": {turn: func(p *simulated.Platform) { p.TD.TCBSVN[1] = 2 }, check: attest.CheckTCBUnknown},
		"module of major version 0": {turn: func(p *simulated.Platform) { p.TD.TCBSVN = [16]byte{5, 0, 3} }, status: "UpToDate"},
		"module signed by another":  {turn: edit(64), check: attest.CheckTCBUnknown},
		"module with attributes":    {turn: edit(113), check: attest.CheckTCBUnknown},
		"QE below its level":        {turn: func(p *simulated.Platform) { p.Collateral.QESVN = 5 }, check: attest.CheckQEIdentity},
		"another QE":                {turn: func(p *simulated.Platform) { p.Collateral.QESigner = fmt.Sprintf("%064x", 1) }, check: attest.CheckQEIdentity},
		"QE in debug mode":          {turn: func(p *simulated.Platform) { p.Collateral.DebugQE = true }, check: attest.CheckQEIdentity},
		"forged TCB info":           {turn: func(p *simulated.Platform) { p.Collateral.ForgedTCB = true }, check: attest.CheckCollateralInvalid},
		"forged QE identity":        {turn: func(p *simulated.Platform) { p.Collateral.ForgedQE = true }, check: attest.CheckCollateralInvalid},
		"TCB info of another FMSPC": {turn: func(p *simulated.Platform) { p.Collateral.FMSPC = "00806f050000" }, check: attest.CheckCollateralInvalid},
		"TCB info of another PCE":   {turn: func(p *simulated.Platform) { p.Collateral.PCEID = "0001" }, check: attest.CheckCollateralInvalid},
		"unknown status":            {turn: func(p *simulated.Platform) { p.Collateral.Platform = "Excellent" }, check: attest.CheckTCBUnknown},
		"status in another case":    {turn: func(p *simulated.Platform) { p.Collateral.Module = "uptodate" }, check: attest.CheckTCBUnknown},
		"PCK revoked":               {turn: revoke("pck"), check: attest.CheckCertRevoked},
		"CA revoked":                {turn: revoke("ca"), check: attest.CheckCertRevoked},
		"TCB signer revoked":        {turn: revoke("signer"), check: attest.CheckCertRevoked},
		"enclave, PCK revoked":      {turn: revoke("pck"), sgx: true, check: attest.CheckCertRevoked},
		"collateral of yesteryear":  {turn: issued(-31 * 24 * time.Hour), check: attest.CheckCollateralStale},
		"collateral of tomorrow":    {turn: issued(time.Hour), check: attest.CheckCollateralInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			p := platform(t, 1, c.turn)
			raw := tdQuote(t, p)
			if c.sgx {
				raw = sgxQuote(t, p)
			}
			a, rej := evaluate(t, evaluator(t, dcap.Config{Roots: p.Roots(), Endorser: p}), raw, at())
			switch {
			case c.check == "" && (rej != nil || a.TCB.Status != c.status):
				t.Errorf("%+v, %v, want %s", a, rej, c.status)
			case c.check != "" && (rej == nil || rej.Check != c.check):
				t.Errorf("%+v, %v, want %s", a, rej, c.check)
			}
		})
	}
}

func edit(offset int) func(p *simulated.Platform) {
	return func(p *simulated.Platform) { p.TD.Edit = func(report []byte) { report[offset] = 1 } }
}

func revoke(who string) func(p *simulated.Platform) {
	return func(p *simulated.Platform) { p.Collateral.Revoked = []string{who} }
}

func issued(after time.Duration) func(p *simulated.Platform) {
	return func(p *simulated.Platform) { p.Collateral.Issued = at().Add(after) }
}

// TestEachDocument leaves one document out, makes it stale, or swaps it for that of
// another platform.
func TestEachDocument(t *testing.T) {
	p, other := platform(t, 1, nil), all(t, platform(t, 2, nil))
	stale, early := all(t, platform(t, 1, issued(-31*24*time.Hour))), all(t, platform(t, 1, issued(time.Hour)))
	raw := tdQuote(t, p)
	for need := range all(t, p) {
		if need.ID == "sgx" || need.ID == "sgx/"+simulated.FMSPC() {
			continue
		}
		for name, c := range map[string]struct {
			with  documents
			check attest.Check
		}{
			"none": {documents{}, attest.CheckCollateralUnavailable}, "of another root": {other, attest.CheckCollateralInvalid},
			"stale": {stale, attest.CheckCollateralStale}, "of the future": {early, attest.CheckCollateralInvalid},
		} {
			docs := all(t, p)
			if docs[need] = c.with[need]; docs[need] == nil {
				delete(docs, need)
			}
			_, rej := evaluate(t, evaluator(t, dcap.Config{Roots: p.Roots(), Endorser: docs}), raw, at())
			if rej == nil || rej.Check != c.check {
				t.Errorf("%v %s: %v, want %s", need, name, rej, c.check)
			}
		}
	}
}

// TestSlowClock: a document that Intel issues while it is asked for is not of the
// future because our clock is some minutes slow, and not younger than nothing.
func TestSlowClock(t *testing.T) {
	p := platform(t, 1, nil)
	for after, good := range map[time.Duration]bool{time.Second: true, 10 * time.Minute: true, 10*time.Minute + time.Second: false} {
		docs := all(t, platform(t, 1, issued(after)))
		e := evaluator(t, dcap.Config{Roots: p.Roots(), Endorser: docs})
		for range 2 { // from the cache too
			a, rej := evaluate(t, e, tdQuote(t, p), at())
			switch {
			case good != (rej == nil), rej != nil && rej.Check != attest.CheckCollateralInvalid:
				t.Errorf("issued in %v: %v", after, rej)
			case a != nil && a.CollateralAge != 0:
				t.Errorf("issued in %v: age %v", after, a.CollateralAge)
			}
		}
	}
}

// TestCachedCollateralEnds: what was verified once is not good for ever, and a new
// list counts at once.
func TestCachedCollateralEnds(t *testing.T) {
	p := platform(t, 1, nil)
	docs := all(t, p)
	e := evaluator(t, dcap.Config{Roots: p.Roots(), Endorser: docs})
	raw := tdQuote(t, p)
	if _, rej := evaluate(t, e, raw, at()); rej != nil {
		t.Fatal(rej)
	}
	for at, check := range map[time.Time]attest.Check{
		at().Add(31 * 24 * time.Hour):  attest.CheckCollateralStale,
		at().Add(-40 * time.Hour):      attest.CheckCollateralInvalid,
		simulated.From.Add(-time.Hour): attest.CheckChainExpired,
		simulated.To.Add(time.Hour):    attest.CheckChainExpired,
	} {
		if _, rej := evaluate(t, e, raw, at); rej == nil || rej.Check != check {
			t.Errorf("%s: %v, want %s", at, rej, check)
		}
	}
	need := attest.Need{Kind: attest.NeedIntelPCKCRL, ID: "platform"}
	docs[need] = all(t, platform(t, 1, revoke("pck")))[need]
	if _, rej := evaluate(t, e, raw, at()); rej == nil || rej.Check != attest.CheckCertRevoked {
		t.Errorf("after a new CRL: %v", rej)
	}
}

// TestDebugQE is refused without collateral too.
func TestDebugQE(t *testing.T) {
	p := platform(t, 1, func(p *simulated.Platform) { p.Collateral.DebugQE = true })
	if _, rej := evaluate(t, evaluator(t, dcap.Config{Roots: p.Roots()}), tdQuote(t, p), at()); rej == nil || rej.Check != attest.CheckQEIdentity {
		t.Error(rej)
	}
}
