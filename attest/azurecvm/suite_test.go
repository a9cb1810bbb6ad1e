package azurecvm_test

import (
	"crypto/rsa"
	"reflect"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/attesttest"
	"github.com/openskr/openskr/attest/azurecvm"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/azurecvm/simulated"
	"github.com/openskr/openskr/attest/snp"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	"github.com/openskr/openskr/attest/tdx"
	tdxsim "github.com/openskr/openskr/attest/tdx/simulated"
)

// genuine makes evidence of a simulated machine without a TPM: the AK's private half
// is here.
func genuine(t testing.TB, p *simulated.Platform, kind uint32) attest.Evidence {
	t.Helper()
	m := newVM(t, 0, format.HCLSNP)
	host, err := p.Report(&m.AKKey.(*rsa.PrivateKey).PublicKey, simulated.Options{Kind: kind})
	if err != nil {
		t.Fatal(err)
	}
	b := m.body(t)
	b.Type, b.HCL, b.TDQuote = attest.TypeAzureCVM.Simulated(), host.HCL, host.TDQuote
	ev := m.evidence(t, b)
	ev.Type, ev.Endorsements = b.Type, host.Endorsements()
	return ev
}

func TestSuiteSNP(t *testing.T) {
	p := platform(t, 1)
	// Revocation lists come from an endorser that answers at every time asked, so that
	// the certificates' own period is what the suite meets.
	hardware, err := snp.New(snp.Config{Type: attest.TypeSNP.Simulated(), Products: p.SNP.Products()})
	if err != nil {
		t.Fatal(err)
	}
	attesttest.Run(t, attesttest.Case{
		Verifier: verifier(t, azurecvm.Config{Type: attest.TypeAzureCVM.Simulated(), SNP: hardware}),
		Evidence: genuine(t, p, format.HCLSNP), Expect: attest.Expect{At: now}, NotBefore: snpsim.From, NotAfter: snpsim.To,
		Strangers: map[string]attest.Verifier{"another platform": trusting(t, platform(t, 2)), "TDX": verifier(t, azurecvm.Config{Type: attest.TypeAzureCVM.Simulated(), TDX: sound("tdx")})},
		Stride:    13,                          // the whole body takes 40 s
		Optional:  []string{"ak", "recipient"}, // the AK is in the report too
	})
}

func TestSuiteTDX(t *testing.T) {
	p := platform(t, 1)
	hardware, err := tdx.New(tdx.Config{Type: attest.TypeTDX.Simulated(), Roots: p.TDX.Roots()})
	if err != nil {
		t.Fatal(err)
	}
	attesttest.Run(t, attesttest.Case{
		Verifier: verifier(t, azurecvm.Config{Type: attest.TypeAzureCVM.Simulated(), TDX: hardware}),
		Evidence: genuine(t, p, format.HCLTDX), Expect: attest.Expect{At: now}, NotBefore: tdxsim.From, NotAfter: tdxsim.To,
		Strangers: map[string]attest.Verifier{"another platform": trusting(t, platform(t, 2)), "SNP": verifier(t, azurecvm.Config{Type: attest.TypeAzureCVM.Simulated(), SNP: sound("snp")})},
		Stride:    17,
		Optional:  []string{"ak", "recipient"},
		// CPUSVN and MAC of a TDREPORT are for the processor that made it, and not read.
		Harmless: func(sound, got *attest.Result) bool { return reflect.DeepEqual(sound, got) },
	})
}
