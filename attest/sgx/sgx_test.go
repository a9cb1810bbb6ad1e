package sgx_test

import (
	"errors"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/attesttest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/sgx"
	"github.com/openskr/openskr/attest/sgx/format"
	"github.com/openskr/openskr/attest/tdx/simulated"
	"github.com/openskr/openskr/internal/strict"
)

const runtimeData = `{"keys":[{"kty":"EC"}],"nonce":"AAAA","audience":"a","purpose":"release","key":"k","enc":"e"}`

// at is the time of appraisal of all tests.
func at() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

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

func trusting(t testing.TB, p *simulated.Platform) *sgx.Verifier {
	t.Helper()
	v, err := sgx.New(sgx.Config{Type: attest.TypeSGX.Simulated(), Roots: p.Roots(), Endorser: p})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func evidence(t testing.TB, p *simulated.Platform) attest.Evidence {
	t.Helper()
	var reportData [64]byte
	digest := binding.Digest([]byte(runtimeData))
	copy(reportData[:], digest[:])
	quote, err := p.SGXQuote(reportData)
	if err != nil {
		t.Fatal(err)
	}
	return bodyOf(t, quote)
}

func bodyOf(t testing.TB, quote []byte) attest.Evidence {
	t.Helper()
	typ := attest.TypeSGX.Simulated()
	body, err := strict.Marshal(format.Evidence{Type: typ, Quote: quote})
	if err != nil {
		t.Fatal(err)
	}
	return attest.Evidence{Type: typ, Body: body, RuntimeData: []byte(runtimeData)}
}

func verify(t testing.TB, v attest.Verifier, ev attest.Evidence) (*attest.Result, *attest.Rejection) {
	t.Helper()
	res, err := v.Verify(t.Context(), ev, attest.Expect{At: at()})
	rej, _ := errors.AsType[*attest.Rejection](err)
	if (rej == nil) == (res == nil) {
		t.Fatalf("%v, %v", res, err)
	}
	return res, rej
}

func TestSuite(t *testing.T) {
	for version, stride := range map[uint16]int{3: 1, 4: 23, 5: 29} {
		p := platform(t, 1, func(p *simulated.Platform) { p.Enclave.Version = version })
		from := at().Truncate(24 * time.Hour).Add(-24 * time.Hour)
		attesttest.Run(t, attesttest.Case{
			Verifier: trusting(t, p), Evidence: evidence(t, p), Expect: attest.Expect{At: at()}, Stride: stride,
			Strangers: map[string]attest.Verifier{"another platform": trusting(t, platform(t, 2, nil))},
			NotBefore: from.Add(-10 * time.Minute), NotAfter: from.Add(simulated.Validity),
		})
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		turn  func(p *simulated.Platform)
		check attest.Check
	}{
		"debug":        {func(p *simulated.Platform) { p.Enclave.Flags = 2 }, attest.CheckDebug},
		"unknown flag": {func(p *simulated.Platform) { p.Enclave.Flags = 1 << 40 }, attest.CheckPlatformBits},
		"revoked":      {func(p *simulated.Platform) { p.Collateral.Revoked = []string{"pck"} }, attest.CheckCertRevoked},
		"TCB revoked":  {func(p *simulated.Platform) { p.Collateral.Platform = "Revoked" }, attest.CheckTCBRevoked},
	} {
		p := platform(t, 1, c.turn)
		_, rej := verify(t, trusting(t, p), evidence(t, p))
		if rej == nil || rej.Check != c.check || rej.Identity == nil || rej.Identity.Kind != "simulated-sgx" {
			t.Errorf("%s: %v, want %s", name, rej, c.check)
		}
	}
	p := platform(t, 1, nil)
	quote, err := p.Quote(binding64())
	if err != nil {
		t.Fatal(err)
	}
	if _, rej := verify(t, trusting(t, p), bodyOf(t, quote)); rej == nil || rej.Check != attest.CheckTypeNotAllowed {
		t.Errorf("a TD's quote: %v", rej)
	}
}

func binding64() (reportData [64]byte) {
	digest := binding.Digest([]byte(runtimeData))
	copy(reportData[:], digest[:])
	return reportData
}

func TestResult(t *testing.T) {
	p := platform(t, 1, func(p *simulated.Platform) { p.Collateral.Platform = "SWHardeningNeeded" })
	res, rej := verify(t, trusting(t, p), evidence(t, p))
	if rej != nil {
		t.Fatal(rej)
	}
	want := attest.Facts{
		Chain: true, Signature: true, Bound: true, Recipient: true, Revocation: attest.Checked, Freshness: attest.Checked,
		TCBStatus: "SWHardeningNeeded", CollateralAge: 36 * time.Hour,
	}
	if res.Facts != want || string(res.Recipient) != `{"kty":"EC"}` {
		t.Errorf("%+v", res)
	}
	if _, there := res.Claims["x-ms-sgx-config-id"]; there {
		t.Error("config id of an enclave without KSS")
	}
	kss := platform(t, 1, func(p *simulated.Platform) { p.Enclave.Flags = 1 << 7 })
	if res, rej = verify(t, trusting(t, kss), evidence(t, kss)); rej != nil {
		t.Fatal(rej)
	}
	if _, there := res.Claims["x-ms-sgx-config-id"]; !there {
		t.Error("no config id of an enclave with KSS")
	}
}

// FuzzEvidence sends bodies through the whole verifier: only the sound ones pass.
func FuzzEvidence(f *testing.F) {
	p := platform(f, 1, nil)
	v, ev := trusting(f, p), evidence(f, p)
	f.Add(ev.Body)
	f.Add([]byte(`{"type":"simulated-sgx","quote":""}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e := ev
		e.Body = body
		res, err := v.Verify(t.Context(), e, attest.Expect{At: at()})
		if err == nil && (!res.Facts.Chain || !res.Facts.Signature || !res.Facts.Bound || res.Facts.TCBStatus != attest.TCBUpToDate) {
			t.Fatalf("accepted with %+v", res.Facts)
		}
	})
}
