package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/all"
	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/internal/endorser"
)

// fetchFlags are those of `collateral fetch`.
type fetchFlags struct {
	out, config      string
	fmspc, amd       []string
	reports, quotes  []string
	amdURL, intelURL []string
}

func newCollateralFetchCmd(a *app) *cobra.Command {
	var f fetchFlags
	cmd := &cobra.Command{
		Use: "fetch", Short: "Get documents from AMD and Intel into a folder", Args: exactArgs(),
		Long: `Gets what brokers need to verify machines, on a computer with network; it needs no
broker. Name platforms, or give evidence of one machine of each kind: then it gets what
verifying that evidence asks for.

Run again, it brings the folder up to date; what is there stays when it fails. Intel's
documents last 30 days, AMD's CRLs about a year, a VCEK as long as the firmware of
its machine stays.`,
		Example: `  openskr collateral fetch --out collateral --amd Milan,Genoa --fmspc 90c06f000000
  openskr collateral fetch --out collateral --report report.bin --quote quote.bin`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.fetchCollateral(cmd.Context(), &f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.out, "out", "", "`DIR` to write to; made when absent")
	fl.StringSliceVar(&f.amd, "amd", nil, "`PRODUCT`s whose CRLs to get: Milan, Genoa (with Siena and Bergamo), Turin")
	fl.StringSliceVar(&f.fmspc, "fmspc", nil, "`HEX` of Intel platforms (12 digits) whose TCB levels to get, with CRLs and QE identities")
	fl.StringArrayVar(&f.reports, "report", nil, "`FILE` with an SNP report, whose VCEK and CRL to get; may be repeated")
	fl.StringArrayVar(&f.quotes, "quote", nil, "`FILE` with a TDX or SGX quote, whose collateral to get; may be repeated")
	fl.StringVar(&f.config, "config", "", "configuration `FILE` of the broker, when it has private roots, or mirrors to ask")
	fl.StringSliceVar(&f.amdURL, "amd-url", nil, "base `URL` instead of https://kdsintf.amd.com; several are tried in order")
	fl.StringSliceVar(&f.intelURL, "intel-url", nil, "base `URL` instead of https://api.trustedservices.intel.com, for example of a PCCS")
	return cmd
}

func (a *app) fetchCollateral(ctx context.Context, f *fetchFlags) error {
	needs, err := f.needs()
	if err != nil {
		return err
	}
	switch {
	case f.out == "":
		return usagef("--out DIR is needed")
	case len(needs)+len(f.reports)+len(f.quotes) == 0:
		return usagef("fetch what? Give --amd, --fmspc, --report or --quote")
	}
	g, err := f.getter()
	if err != nil {
		return err
	}
	for _, need := range needs {
		_, _ = g.Endorse(ctx, need) // kept in got
	}
	for _, file := range f.reports {
		if err := a.getFor(file, func(raw []byte) error { return g.report(ctx, raw) }); err != nil {
			return err
		}
	}
	for _, file := range f.quotes {
		if err := a.getFor(file, func(raw []byte) error { return g.quote(ctx, raw) }); err != nil {
			return err
		}
	}
	return a.printDocuments(g.lines())
}

// getter asks whom the flags name, or the configuration, or AMD and Intel.
func (f *fetchFlags) getter() (*getter, error) {
	g := &getter{got: map[attest.Need]documentLine{}}
	var cfg *Config
	if f.config != "" {
		var err error
		if cfg, err = loadConfig("", f.config); err != nil {
			return nil, unreadable(err)
		}
		if g.trust, err = trustOf(cfg); err != nil {
			return nil, unreadable(err)
		}
		if f.amdURL == nil {
			f.amdURL = cfg.AMDKDS
		}
		if f.intelURL == nil {
			f.intelURL = cfg.IntelPCS
		}
	}
	inspect, err := collateralTrust(cfg)
	if err != nil {
		return nil, err
	}
	g.from, err = endorser.New(endorser.Config{
		Dir: f.out, AMD: f.amdURL, Intel: f.intelURL, Inspect: inspect, Timeout: 30 * time.Second, ChipsPerMinute: 1000,
	})
	if err != nil {
		return nil, usagef("%w", err)
	}
	return g, nil
}

var isFMSPC = regexp.MustCompile(`^[0-9a-f]{12}$`)

// needs lists what the flags name.
func (f *fetchFlags) needs() ([]attest.Need, error) {
	var out []attest.Need
	for _, p := range f.amd {
		if !slices.Contains([]string{snp.Milan, snp.Genoa, snp.Turin}, p) {
			return nil, usagef("--amd %.32q: want %s, %s or %s", p, snp.Milan, snp.Genoa, snp.Turin)
		}
		for _, key := range []snp.SigningKey{snp.VCEK, snp.VLEK} {
			out = append(out, attest.Need{Kind: attest.NeedAMDCRL, ID: key.String() + "/" + p})
		}
	}
	for _, hex := range f.fmspc {
		id := strings.ToLower(hex)
		if !isFMSPC.MatchString(id) {
			return nil, usagef("--fmspc %.32q: want 12 digits of hex", hex)
		}
		for _, tee := range []string{"tdx", "sgx"} {
			out = append(out, attest.Need{Kind: attest.NeedIntelTCB, ID: tee + "/" + id})
		}
	}
	if len(f.fmspc) > 0 {
		out = append(out,
			attest.Need{Kind: attest.NeedIntelQE, ID: "tdx"}, attest.Need{Kind: attest.NeedIntelQE, ID: "sgx"},
			attest.Need{Kind: attest.NeedIntelPCKCRL, ID: "platform"}, attest.Need{Kind: attest.NeedIntelPCKCRL, ID: "processor"},
			attest.Need{Kind: attest.NeedIntelRootCRL})
	}
	return out, nil
}

// getter fetches what a verifier asks for, and remembers.
type getter struct {
	from  *endorser.Endorser
	trust all.Config // private roots
	got   map[attest.Need]documentLine
	asked int
}

// Endorse implements [attest.Endorser].
func (g *getter) Endorse(ctx context.Context, need attest.Need) (*attest.Document, error) {
	g.asked++
	if _, again := g.got[need]; !again {
		en, err := g.from.Refresh(ctx, need)
		g.got[need] = lineOf(need, en, err, outcomeFetched, time.Now())
	}
	return g.from.Endorse(ctx, need)
}

// lines leaves out that a platform has no levels for one of Intel's two TEEs, when it
// has for the other.
func (g *getter) lines() []documentLine {
	var out []documentLine
	for _, need := range sortedNeeds(g.got) {
		l := g.got[need]
		tee, fmspc, _ := strings.Cut(need.ID, "/")
		other := map[string]string{"tdx": "sgx/", "sgx": "tdx/"}[tee] + fmspc
		if need.Kind == attest.NeedIntelTCB && l.Outcome == outcomeUnknown && g.got[attest.Need{Kind: need.Kind, ID: other}].Outcome == outcomeFetched {
			continue
		}
		out = append(out, l)
	}
	return out
}

func (a *app) getFor(file string, ask func(raw []byte) error) error {
	raw, err := a.input(file)
	if err != nil {
		return err
	}
	if err := ask(raw); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// report asks for what verifying an SNP report needs. That a document could not be had
// is in its line.
func (g *getter) report(ctx context.Context, raw []byte) error {
	products, err := snp.AMD()
	if err != nil {
		return err
	}
	v, err := snp.New(snp.Config{Products: append(products, g.trust.Products...), Endorser: g})
	if err != nil {
		return err
	}
	before := g.asked
	_, _, rej := v.Appraise(ctx, raw, nil, time.Now())
	return g.wrong(rej, before)
}

// quote asks for what verifying a TDX or SGX quote needs.
func (g *getter) quote(ctx context.Context, raw []byte) error {
	q, err := dcap.ParseQuote(raw)
	if err != nil {
		return unreadable(err)
	}
	root, err := dcap.IntelRoot()
	if err != nil {
		return err
	}
	v, err := dcap.New(dcap.Config{Roots: append([]*x509.Certificate{root}, g.trust.Intel...), Endorser: g})
	if err != nil {
		return err
	}
	before := g.asked
	p, rej := v.Prove(q, time.Now())
	if rej == nil {
		_, rej = v.Appraise(ctx, p, time.Now())
	}
	return g.wrong(rej, before)
}

// wrong tells evidence that is none from such that merely has a bad level.
func (g *getter) wrong(rej *attest.Rejection, before int) error {
	if rej == nil || g.asked > before {
		return nil
	}
	return refused(rej)
}
