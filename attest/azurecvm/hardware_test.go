package azurecvm_test

import (
	"math/big"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/attesttest"
	"github.com/openskr/openskr/attest/azurecvm"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/azurecvm/simulated"
)

// TestHardware is machines whose processor says something that no release may pass.
func TestHardware(t *testing.T) {
	for name, c := range map[string]struct {
		kind   uint32
		change func(*simulated.Platform)
		want   attest.Check
	}{
		"SNP":         {format.HCLSNP, func(*simulated.Platform) {}, ""},
		"TDX":         {format.HCLTDX, func(*simulated.Platform) {}, ""},
		"SNP of VLEK": {format.HCLSNP, func(p *simulated.Platform) { p.SNP.Chip.VLEK = true }, ""},
		"TDX quote 5": {format.HCLTDX, func(p *simulated.Platform) { p.TDX.TD.Version = 5 }, ""},
		"SNP debug":   {format.HCLSNP, func(p *simulated.Platform) { p.SNP.Chip.Report = func(r []byte) { r[0x08+2] |= 8 } }, attest.CheckDebug},
		"SNP VMPL 2":  {format.HCLSNP, func(p *simulated.Platform) { p.SNP.Chip.Report = func(r []byte) { r[0x30] = 2 } }, attest.CheckVMPL},
		"TDX debug":   {format.HCLTDX, func(p *simulated.Platform) { p.TDX.TD.Attributes |= 1 }, attest.CheckDebug},
		"PCK revoked": {format.HCLTDX, func(p *simulated.Platform) { p.TDX.Collateral.Revoked = []string{"pck"} }, attest.CheckCertRevoked},
		"VLEK revoked": {format.HCLSNP, func(p *simulated.Platform) {
			p.SNP.Chip.VLEK = true
			leaf, err := p.SNP.Leaf(p.SNP.Chip)
			if err != nil {
				t.Fatal(err)
			}
			p.SNP.Revoked = []*big.Int{leaf.SerialNumber}
		}, attest.CheckCertRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			p := platform(t, 1)
			c.change(p)
			res, err := trusting(t, p).Verify(t.Context(), genuine(t, p, c.kind), attest.Expect{At: now})
			if c.want != "" {
				wantCheck(t, err, c.want)
				return
			}
			if err != nil || res.Facts.Revocation != attest.Checked {
				t.Fatalf("%+v, %v", res, err)
			}
			attesttest.Claims(t, res.Claims, azurecvm.Schema())
		})
	}
}

// What the hardware lets happen to the machine, the machine's result says.
func TestHardwareFacts(t *testing.T) {
	p := platform(t, 1)
	p.SNP.Chip.Report = func(r []byte) { r[0x08+2] |= 4 } // MIGRATE_MA
	p.TDX.Collateral.Platform = "OutOfDate"
	res, err := trusting(t, p).Verify(t.Context(), genuine(t, p, format.HCLSNP), attest.Expect{At: now})
	if err != nil || !res.Facts.Migratable {
		t.Errorf("migratable: %+v, %v", res, err)
	}
	res, err = trusting(t, p).Verify(t.Context(), genuine(t, p, format.HCLTDX), attest.Expect{At: now})
	if err != nil || res.Facts.TCBStatus != "OutOfDate" || res.Facts.CollateralAge == 0 {
		t.Errorf("TCB: %+v, %v", res, err)
	}
}

// The real verifier trusts no simulated processor, whatever the evidence calls itself.
func TestSimulationIsNotTrusted(t *testing.T) {
	p := platform(t, 1)
	ev := genuine(t, p, format.HCLSNP)
	_, err := offline(t).Verify(t.Context(), ev, attest.Expect{At: now})
	wantCheck(t, err, attest.CheckTypeNotAllowed)
	ev.Type = attest.TypeAzureCVM
	_, err = offline(t).Verify(t.Context(), ev, attest.Expect{At: now})
	wantCheck(t, err, attest.CheckTypeNotAllowed)
}
