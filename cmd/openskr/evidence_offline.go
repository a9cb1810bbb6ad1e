package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/all"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/token"
	"github.com/openskr/openskr/internal/endorser"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/internal/strict"
)

// offlineVerifier makes the verifier of ev's type, from what the flags say to trust.
func (a *app) offlineVerifier(f *evidenceFlags, ev *attest.Evidence) (attest.Verifier, error) {
	c, err := a.offlineTrust(f, ev)
	if err != nil {
		return nil, err
	}
	v, err := all.New(c)
	if err != nil {
		return nil, unreadable(err)
	}
	made, ok := v.Set[ev.Type]
	if _, simulated := ev.Type.Base(); !ok && simulated {
		return nil, usagef("evidence of type %.32q is of simulated hardware, which only evidence verify --simulation FILE believes, with the seed of its deployment", ev.Type)
	}
	if !ok {
		return attest.Set{}, nil // refuses it by name
	}
	return made, nil
}

func (a *app) offlineTrust(f *evidenceFlags, ev *attest.Evidence) (c all.Config, err error) {
	if err := f.trusts(ev.Type); err != nil {
		return c, err
	}
	if f.simulation != "" {
		c.Seed, err = simulated(f.simulation, ev.Type)
		return c, err
	}
	if len(f.collateral) > 0 {
		if c.Endorser, err = endorser.ReadCollateral(f.collateral); err != nil {
			return c, unreadable(fmt.Errorf("--collateral: %w", err))
		}
	}
	switch ev.Type {
	case attest.TypeTPM:
		roots, err := a.readRoots(f.akRoots)
		if err != nil {
			return c, err
		}
		if f.akRoots == "" {
			ev.Endorsements = nil // nothing to judge a certificate by
		}
		t := roots.config(ev.Endorsements)
		c.TPM = &t
	case attest.TypeToken:
		issuer, err := a.tokenIssuer(f, ev.Body)
		if err != nil {
			return c, err
		}
		c.Issuers = []token.Issuer{*issuer}
	case attest.TypeSNP:
		c.Products, err = productFiles(f.roots)
	case attest.TypeTDX, attest.TypeSGX:
		c.Intel, err = rootFiles(f.roots)
	case attest.TypeNitro:
		c.AWS, err = rootFiles(f.roots)
	case attest.TypeGCE:
		c.Google, err = rootFiles(f.roots)
	case attest.TypeAzureCVM:
		c.Microsoft, err = rootFiles(f.roots)
	}
	if err != nil {
		return c, unreadable(fmt.Errorf("--root: %w", err))
	}
	return c, nil
}

// simulated reads the seed that makes the roots of simulated hardware.
func simulated(path string, t attest.Type) (*[simulate.SeedSize]byte, error) {
	if _, ok := t.Base(); !ok {
		return nil, usagef("--simulation is for evidence of simulated hardware, and this is of type %.32q", t)
	}
	seed, err := simulate.ReadSeed(path)
	if err != nil {
		return nil, unreadable(fmt.Errorf("--simulation: %w", err))
	}
	return &seed, nil
}

// tokenIssuer trusts the issuer that the token names, by the keys of --jwks: offline,
// who gives the keys has said whom he trusts.
func (a *app) tokenIssuer(f *evidenceFlags, body []byte) (*token.Issuer, error) {
	if f.jwks == "" {
		return nil, usagef("--jwks FILE is missing: the keys of the token's issuer")
	}
	keys, err := a.input(f.jwks)
	if err != nil {
		return nil, err
	}
	issuer, err := token.Introduce(body)
	if err != nil {
		return nil, unreadable(fmt.Errorf("--token: %w", err))
	}
	issuer.JWKS = keys
	return issuer, nil
}

// readEnvelope reads what `openskr-agent evidence` printed: the body alone, or with
// its endorsements beside it.
func (a *app) readEnvelope(f *evidenceFlags, ev *attest.Evidence) error {
	b, err := a.input(f.body)
	if err != nil {
		return err
	}
	var whole binding.ReleaseRequest
	if strict.Unmarshal(b, len(b), &whole) == nil && whole.Evidence != nil {
		ev.Body, ev.Endorsements = whole.Evidence, whole.Endorsements
	} else {
		ev.Body = b
	}
	typ, err := typeOf(ev.Body)
	switch {
	case err != nil:
		return unreadable(fmt.Errorf("--evidence %s: %w", f.body, err))
	case ev.Type != "" && ev.Type != typ:
		return usagef("--evidence %s is of type %.32q, not %s", f.body, typ, ev.Type)
	}
	ev.Type = typ
	if f.akCert != "" {
		return a.readAKCert(f.akCert, ev)
	}
	return nil
}

// typeOf reads the type that a body gives itself.
func typeOf(body []byte) (attest.Type, error) {
	var head struct {
		Type attest.Type `json:"type"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return "", err
	}
	if head.Type == "" {
		return "", errors.New("it has no member type")
	}
	return head.Type, nil
}
