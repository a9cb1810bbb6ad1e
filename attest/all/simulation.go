package all

import (
	"context"
	"crypto/x509"
	"sync"
	"time"

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
	s, err := snp.New(snp.Config{Type: attest.TypeSNP.Simulated(), Products: a.SNP.Products(), Endorser: &issued{from: a.SNP.Endorser()}, Denied: denied})
	if err != nil {
		return err
	}
	t, err := tdx.New(tdx.Config{Type: attest.TypeTDX.Simulated(), Roots: a.TDX.Roots(), Endorser: &issued{from: a.TDX}, Denied: denied})
	if err != nil {
		return err
	}
	v.Set[attest.TypeSNP.Simulated()], v.Set[attest.TypeTDX.Simulated()] = s, t
	v.add(attest.TypeAzureCVM.Simulated())(azurecvm.New(azurecvm.Config{
		Type: attest.TypeAzureCVM.Simulated(), SNP: s, TDX: t, Denied: denied,
		AKRoots: []*x509.Certificate{a.AKs.Root}, AKIntermediates: []*x509.Certificate{a.AKs.Intermediate},
	}))
	nc := n.Config()
	nc.Denied = denied
	v.add(nc.Type)(nitro.New(nc))
	return nil
}

// issued keeps the lists that a simulated vendor signs anew whenever it is asked: real
// ones are issued now and then, and verified once.
type issued struct {
	from attest.Endorser

	mu   sync.Mutex
	docs map[attest.Need]issue
}

type issue struct {
	doc *attest.Document
	at  time.Time
}

const (
	issueLife = 30 * time.Minute // how long a list stays the newest
	maxIssued = 64               // lists: a handful of products and platforms
)

// Endorse implements [attest.Endorser]. Certificates of chips are not kept: strangers
// name them.
func (i *issued) Endorse(ctx context.Context, need attest.Need) (*attest.Document, error) {
	if need.Kind == attest.NeedAMDVCEK {
		return i.from.Endorse(ctx, need)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if last, ok := i.docs[need]; ok && time.Since(last.at) < issueLife {
		return last.doc, nil
	}
	doc, err := i.from.Endorse(ctx, need)
	if err != nil {
		return nil, err
	}
	if i.docs == nil || len(i.docs) == maxIssued {
		i.docs = map[attest.Need]issue{}
	}
	i.docs[need] = issue{doc, time.Now()}
	return doc, nil
}
