package nitro_test

import (
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/attesttest"
	"github.com/openskr/openskr/attest/nitro"
)

func TestSuite(t *testing.T) {
	p, other := platform(t, 1), platform(t, 2)
	aws := verifier(t, nitro.Config{})
	attesttest.Run(t, attesttest.Case{
		Verifier: verifier(t, p.Config()), Evidence: evidence(t, p), Expect: attest.Expect{At: now},
		Strangers: map[string]attest.Verifier{"another simulation": verifier(t, other.Config()), "AWS": aws},
		NotBefore: now.Add(-5 * time.Minute), NotAfter: now.Add(5 * time.Minute),
		Stride: 5,
	})
}
