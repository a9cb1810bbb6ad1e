package tdx_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/attesttest"
	"github.com/openskr/openskr/attest/tdx"
	"github.com/openskr/openskr/attest/tdx/simulated"
)

func TestSuite(t *testing.T) {
	for name, turn := range map[string]func(p *simulated.Platform){
		"version 4": func(p *simulated.Platform) { p.TD.Events = nil },
		"version 5": func(p *simulated.Platform) { p.TD.Version, p.TD.Events = 5, nil },
		"extended":  func(p *simulated.Platform) { p.TD.Version, p.TD.Extended, p.TD.Events = 5, true, nil },
	} {
		t.Run(name, func(t *testing.T) {
			p := platform(t, 1, turn)
			c := suite(t, p)
			if name != "version 4" {
				c.Stride = 17
			}
			attesttest.Run(t, c)
		})
	}
}

// TestSuiteWithLog changes the log too. Its types and texts are covered by nothing,
// and no claim rests on them.
func TestSuiteWithLog(t *testing.T) {
	c := suite(t, platform(t, 1, nil))
	c.Stride = 5
	c.Harmless = func(sound, got *attest.Result) bool { return reflect.DeepEqual(sound, got) }
	attesttest.Run(t, c)
}

func suite(t *testing.T, p *simulated.Platform) attesttest.Case {
	t.Helper()
	intel := verifier(t, tdx.Config{Endorser: p})
	other := platform(t, 2, nil)
	return attesttest.Case{
		Verifier: trusting(t, p), Evidence: evidence(t, p), Expect: attest.Expect{At: at()},
		Optional: []string{"event_log"},
		Strangers: map[string]attest.Verifier{
			"Intel": intel, "another platform": trusting(t, other),
			"this platform with the collateral of another": verifier(t, tdx.Config{Roots: p.Roots(), Endorser: other}),
		},
		NotBefore: at().Truncate(24 * time.Hour).Add(-24*time.Hour - 10*time.Minute), // collateral issued, by a clock that is ahead
		NotAfter:  at().Truncate(24 * time.Hour).Add(-24 * time.Hour).Add(simulated.Validity),
	}
}
