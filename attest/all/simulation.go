package all

import (
	"maps"
	"slices"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm"
	azuresim "github.com/openskr/openskr/attest/azurecvm/simulated"
	"github.com/openskr/openskr/attest/nitro"
	nitrosim "github.com/openskr/openskr/attest/nitro/simulated"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/tdx"
)

// simulate adds the simulated types: the same verifiers under the roots of a seed,
// with the collateral that the simulated vendors publish.
func (v *Verifiers) simulate(seed [32]byte, denied func(string) bool) error {
	a, err := azuresim.New(seed)
	if err != nil {
		return err
	}
	n, err := nitrosim.New(seed)
	if err != nil {
		return err
	}
	s, err := snp.New(snp.Config{Type: attest.TypeSNP.Simulated(), Products: a.SNP.Products(), Endorser: a.SNP.Endorser(), Denied: denied})
	if err != nil {
		return err
	}
	t, err := tdx.New(tdx.Config{Type: attest.TypeTDX.Simulated(), Roots: a.TDX.Roots(), Endorser: a.TDX, Denied: denied})
	if err != nil {
		return err
	}
	v.add(attest.TypeSNP.Simulated())(s, nil)
	v.add(attest.TypeTDX.Simulated())(t, nil)
	v.add(attest.TypeAzureCVM.Simulated())(azurecvm.New(azurecvm.Config{Type: attest.TypeAzureCVM.Simulated(), SNP: s, TDX: t, Denied: denied}))
	nc := n.Config()
	nc.Denied = denied
	v.add(nc.Type)(nitro.New(nc))
	return nil
}

func (v *Verifiers) types() []attest.Type { return slices.Sorted(maps.Keys(v.Set)) }
