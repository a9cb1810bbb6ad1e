package gce_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/attesttest"
	"github.com/openskr/openskr/attest/gce"
	"github.com/openskr/openskr/attest/gce/format"
)

func TestSuite(t *testing.T) {
	c, other := newCloud(t), newCloud(t)
	attesttest.Run(t, attesttest.Case{
		Verifier: verifier(t, c.config()), Evidence: c.evidence(t), Expect: attest.Expect{At: now},
		Strangers: map[string]attest.Verifier{
			"another cloud": verifier(t, other.config()), "Google": verifier(t, gce.Config{}),
			"the AK CA of a deployment": verifier(t, gce.Config{Roots: []*x509.Certificate{c.CA}}),
		},
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
		Stride: 5, Optional: []string{"recipient"},
	})
}

func TestSuiteWithHardware(t *testing.T) {
	c, other := newCloud(t), newCloud(t)
	cfg := c.config()
	cfg.SNP = sound()
	stranger := other.config()
	stranger.SNP = sound()
	attesttest.Run(t, attesttest.Case{
		Verifier: verifier(t, cfg), Expect: attest.Expect{At: now},
		Evidence:  c.evidence(t, func(e *format.Evidence) { e.SNPReport = c.report() }),
		Strangers: map[string]attest.Verifier{"another cloud": verifier(t, stranger), "no hardware": verifier(t, c.config())},
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
		Stride: 5, Optional: []string{"recipient", "snp_report"},
	})
}
