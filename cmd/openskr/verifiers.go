package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/all"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/token"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/internal/api"
	"github.com/openskr/openskr/internal/endorser"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/release/receipt"
)

// collateralDir is the folder of what AMD, Intel and token issuers publish.
const collateralDir = "collateral"

// newEndorser keeps collateral in the data folder.
func (b *broker) newEndorser() (*endorser.Endorser, error) {
	return endorser.New(endorser.Config{
		Dir: filepath.Join(b.dir, collateralDir), AMD: b.cfg.AMDKDS, Intel: b.cfg.IntelPCS, Issuers: b.cfg.issuerURLs(),
		Offline: b.cfg.CollateralOffline, Now: b.now, Logger: b.logger, Observe: b.metrics.Collateral, Waiting: api.Outside,
	})
}

// verification builds the verifiers of s.
func (b *broker) verification(s *settings) error {
	c := s.trust
	c.TPM = &tpm.Config{Denied: func(cert *x509.Certificate) bool { return b.settings.Load().denied(cert) }}
	for _, ca := range b.dep.AKCAs {
		c.TPM.AKRoots = append(c.TPM.AKRoots, ca.Cert)
	}
	c.Endorser = b.endorser
	var err error
	if c.Own, err = b.ownTokens(); err != nil {
		return err
	}
	c.Denied = func(id string) bool { return b.settings.Load().platforms.has(id) }
	if b.dep.Simulation {
		seed, err := b.simulationSeed()
		if err != nil {
			return fmt.Errorf("simulation: %w", err)
		}
		c.Seed = &seed
	}
	v, err := all.New(c)
	if err != nil {
		return err
	}
	s.verifiers, s.anchors = v, receipt.Digest(v.Anchors())
	return nil
}

// use puts s in place. The endorser takes its verifiers as inspectors, so that it
// keeps nothing that they would refuse.
func (b *broker) use(s *settings) {
	b.settings.Store(s)
	b.endorser.Use(s.verifiers.Inspect)
	if s.admit != nil { // nil before the API is made
		s.admit()
	}
}

// simulationSeed reads it, or makes one where there is none: after init, and after a
// restore, since a backup has no part in it.
func (b *broker) simulationSeed() (seed [32]byte, err error) {
	path := filepath.Join(b.dir, simulate.SeedFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := simulate.NewSeed(path); err != nil {
			return seed, err
		}
		b.logger.Info("made roots of simulated hardware", "seed", path)
	}
	return simulate.ReadSeed(path)
}

// currentVerifier is that of the present settings.
type currentVerifier struct{ b *broker }

// Verify implements attest.Verifier.
func (c currentVerifier) Verify(ctx context.Context, ev attest.Evidence, want attest.Expect) (*attest.Result, error) {
	return c.b.settings.Load().verifiers.Verify(ctx, ev, want)
}

// Assert implements attest.Asserter.
func (c currentVerifier) Assert(ctx context.Context, token string, at time.Time) (*attest.Assertion, error) {
	return c.b.settings.Load().verifiers.Assert(ctx, token, at)
}

// trustOf reads the private roots and the issuers of a configuration.
func trustOf(c *Config) (t all.Config, err error) {
	t.VMPLs = c.SNPVMPLs
	for _, r := range []struct {
		name  string
		paths []string
		into  *[]*x509.Certificate
	}{
		{"intel_roots", c.IntelRoots, &t.Intel},
		{"nitro_roots", c.NitroRoots, &t.AWS},
		{"google_roots", c.GoogleRoots, &t.Google},
		{"microsoft_roots", c.MicrosoftRoots, &t.Microsoft},
	} {
		if *r.into, err = rootFiles(r.paths); err != nil {
			return t, fmt.Errorf("%s: %w", r.name, err)
		}
	}
	if t.Products, err = productFiles(c.SNPRoots); err != nil {
		return t, fmt.Errorf("snp_roots: %w", err)
	}
	for _, i := range c.TokenIssuers {
		issuer := token.Issuer{Kind: i.Kind, Issuer: i.Issuer, Audience: i.Audience, MaxAge: i.MaxAge}
		if file, _ := i.keys(); file != "" {
			if issuer.JWKS, err = os.ReadFile(file); err != nil {
				return t, fmt.Errorf("token_issuers: %w", err)
			}
		}
		t.Issuers = append(t.Issuers, issuer)
	}
	return t, nil
}

// rootFiles reads CA certificates from PEM or DER files and folders of them.
func rootFiles(paths []string) (out []*x509.Certificate, err error) {
	err = eachFile(paths, func(path string, b []byte) error {
		certs, err := certificates(b)
		if err == nil && len(certs) == 0 {
			err = errors.New("no certificate in it")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, certs...)
		return nil
	})
	return out, err
}

// productFiles reads SEV-SNP products, one a file.
func productFiles(paths []string) (out []snp.Product, err error) {
	err = eachFile(paths, func(path string, b []byte) error {
		p, err := snp.ParseProducts(b)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, p...)
		return nil
	})
	return out, err
}

func eachFile(paths []string, fn func(path string, b []byte) error) error {
	for _, p := range paths {
		if err := filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return fn(path, b)
		}); err != nil {
			return err
		}
	}
	return nil
}

// maxPlatforms bounds the deny list of hardware in entries.
const maxPlatforms = 1 << 20

// platforms are ids of hardware in lower case: portals and tools write hex and GUIDs
// in either, and a machine must not slip by for that.
type platforms map[string]bool

func (p platforms) has(id string) bool { return p[strings.ToLower(id)] }

// digest names the list, whatever order and case its file has: hex of SHA-256.
func (p platforms) digest() string {
	h := sha256.New()
	for _, id := range slices.Sorted(maps.Keys(p)) {
		h.Write([]byte(id + "\n"))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// platformList reads one id a line; # begins a comment.
func platformList(path string) (platforms, error) {
	out := platforms{}
	if path == "" {
		return out, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || b[len(b)-1] != '\n' {
		return nil, fmt.Errorf("%s is empty or does not end with a line break: it may be half written", path)
	}
	for line := range bytes.Lines(b) {
		text, _, _ := strings.Cut(string(line), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if strings.ContainsAny(text, " \t") || len(out) == maxPlatforms {
			return nil, fmt.Errorf("%s: %.64q is not one id", path, text)
		}
		out[strings.ToLower(text)] = true
	}
	return out, nil
}
