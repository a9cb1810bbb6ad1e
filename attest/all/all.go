// Package all is the list of TEEs this build verifies: one line each.
package all

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/attest/gce"
	"github.com/openskr/openskr/attest/nitro"
	"github.com/openskr/openskr/attest/schema"
	"github.com/openskr/openskr/attest/sgx"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/tdx"
	"github.com/openskr/openskr/attest/token"
	"github.com/openskr/openskr/attest/tpm"
)

// Config is what the verifiers trust besides the authorities pinned in their source.
type Config struct {
	TPM      *tpm.Config          // nil: no evidence of a TPM alone
	Endorser attest.Endorser      // nil: offline
	Denied   func(id string) bool // deny list of hardware; nil: none, and a release refuses
	// Products, Intel, AWS and Google are private roots of the kinds of the vendors'.
	Products           []snp.Product
	VMPLs              []uint32 // of SEV-SNP guests; nil: 0 alone
	Intel, AWS, Google []*x509.Certificate
	// Microsoft certify AKs of Azure's vTPMs: private roots, which sign themselves, and
	// intermediates, which are no trust but lead to a root.
	Microsoft []*x509.Certificate
	Issuers   []token.Issuer // of tokens; none: tokens are no evidence
	Own       *token.Own     // this deployment's attestation service; nil: none
	Seed      *[32]byte      // of simulated hardware; nil outside a simulation
}

// Verifiers is the Set with what belongs to it.
type Verifiers struct {
	attest.Set
	asserter *token.Asserter // nil without Config.Own
	inspect  map[attest.NeedKind]attest.Inspector
	errs     []error
}

// New makes a verifier of every TEE.
func New(c Config) (*Verifiers, error) {
	v := &Verifiers{Set: attest.Set{}, inspect: map[attest.NeedKind]attest.Inspector{}}
	amd, err := snp.AMD()
	v.check(err)
	intel, err := dcap.IntelRoot()
	v.check(err)
	aws, err := nitro.AWSRoot()
	v.check(err)
	google, below, err := gce.Google()
	v.check(err)
	intelRoots := append([]*x509.Certificate{intel}, c.Intel...)
	s, err := snp.New(snp.Config{Products: append(amd, c.Products...), VMPLs: c.VMPLs, Endorser: c.Endorser, Denied: c.Denied})
	v.check(err)
	t, err := tdx.New(tdx.Config{Roots: intelRoots, Endorser: c.Endorser, Denied: c.Denied})
	v.check(err)

	v.Set[attest.TypeSNP], v.Set[attest.TypeTDX] = s, t
	v.add(attest.TypeSGX)(sgx.New(sgx.Config{Roots: intelRoots, Endorser: c.Endorser, Denied: c.Denied}))
	v.add(attest.TypeAzureCVM)(azureCVM(c, s, t))
	v.add(attest.TypeGCE)(gce.New(gce.Config{Roots: append(google, c.Google...), Intermediates: below, SNP: s, TDX: t, Denied: c.Denied}))
	v.add(attest.TypeNitro)(nitro.New(nitro.Config{Roots: append([]*x509.Certificate{aws}, c.AWS...), Denied: c.Denied}))
	if c.TPM != nil {
		v.add(attest.TypeTPM)(tpm.New(*c.TPM))
	}
	v.tokens(c)
	if c.Seed != nil {
		v.check(v.simulate(*c.Seed, c.Denied))
	}
	for _, k := range []attest.NeedKind{attest.NeedAMDVCEK, attest.NeedAMDCRL} {
		v.inspect[k] = s
	}
	for _, k := range []attest.NeedKind{attest.NeedIntelTCB, attest.NeedIntelQE, attest.NeedIntelPCKCRL, attest.NeedIntelRootCRL} {
		v.inspect[k] = t
	}
	if err := errors.Join(v.errs...); err != nil {
		return nil, err
	}
	return v, nil
}

// azureCVM makes the verifier of Azure's machines on that hardware.
func azureCVM(c Config, s *snp.Verifier, t *tdx.Verifier) (*azurecvm.Verifier, error) {
	roots, below, err := format.Microsoft()
	if err != nil {
		return nil, err
	}
	for _, ca := range c.Microsoft {
		if bytes.Equal(ca.RawIssuer, ca.RawSubject) {
			roots = append(roots, ca)
		} else {
			below = append(below, ca)
		}
	}
	return azurecvm.New(azurecvm.Config{SNP: s, TDX: t, AKRoots: roots, AKIntermediates: below, Denied: c.Denied})
}

// tokens makes what takes them: as evidence, and in its place.
func (v *Verifiers) tokens(c Config) {
	var own token.Own
	if c.Own != nil {
		own = *c.Own
	}
	var foreign *token.Verifier
	var err error
	if len(c.Issuers) > 0 {
		foreign, err = token.New(token.Config{Issuers: c.Issuers, Endorser: c.Endorser, Denied: c.Denied, Own: own.Issuers})
		v.add(attest.TypeToken)(foreign, err)
		v.inspect[attest.NeedJWKS] = foreign
	}
	if c.Own != nil && err == nil {
		v.asserter, err = token.NewAsserter(own, foreign, c.Denied)
		v.check(err)
	}
}

func (v *Verifiers) check(err error) { v.errs = append(v.errs, err) }

// add takes what a package's New gives.
func (v *Verifiers) add(t attest.Type) func(attest.Verifier, error) {
	return func(made attest.Verifier, err error) {
		v.check(err)
		v.Set[t] = made
	}
}

// Assert implements [attest.Asserter]. As in [attest.Set.Verify], a panic below becomes a
// Rejection.
func (v *Verifiers) Assert(ctx context.Context, text string, at time.Time) (out *attest.Assertion, err error) {
	if v.asserter == nil {
		return nil, attest.Reject(attest.CheckTypeUnsupported, "no token stands for evidence here")
	}
	defer attest.Contain(&err)
	return v.asserter.Assert(ctx, text, at)
}

// Inspect implements [attest.Inspector] by the verifier that uses the document.
func (v *Verifiers) Inspect(need attest.Need, doc *attest.Document, at time.Time) (attest.Validity, error) {
	i, ok := v.inspect[need.Kind]
	if !ok {
		return attest.Validity{}, attest.Reject(attest.CheckCollateralInvalid, "no verifier here uses documents of kind %.32q", need.Kind)
	}
	return i.Inspect(need, doc, at)
}

// Anchors is the hash of everything trusted, type by type.
func (v *Verifiers) Anchors() [32]byte {
	h := sha256.New()
	for _, t := range slices.Sorted(maps.Keys(v.Set)) {
		sum := func(b []byte) []byte { d := sha256.Sum256(b); return d[:] }
		h.Write(sum([]byte(t)))
		if a, ok := v.Set[t].(interface{ Anchors() [][]byte }); ok {
			for _, der := range a.Anchors() {
				h.Write(sum(der))
			}
		}
	}
	return [32]byte(h.Sum(nil))
}

// Schema is the JSON schema of the claims of all evidence: input.claims.
func Schema() map[string]any {
	return schema.Union(tpm.Schema(), snp.Schema(), tdx.Schema(), sgx.Schema(), azurecvm.Schema(), nitro.Schema(), gce.Schema(), token.Schema())
}
