package tpm_test

import (
	"reflect"
	"testing"

	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/attesttest"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
)

func suite(t *testing.T, m *tpmtest.Machine) attesttest.Case {
	t.Helper()
	ev, err := m.Evidence(m.RuntimeData(nonce))
	if err != nil {
		t.Fatal(err)
	}
	external, err := tpm.New(tpm.Config{ExternalRoots: caOf(machine(t)), Denied: deny(false)})
	if err != nil {
		t.Fatal(err)
	}
	return attesttest.Case{
		Verifier: verifier(t, m), Evidence: ev, Expect: attest.Expect{At: now}, NotBefore: m.From, NotAfter: m.To,
		Optional:  []string{"recipient", "event_log"},
		Strangers: map[string]attest.Verifier{"another deployment's CA": verifier(t, machine(t)), "a cloud's CA": external},
	}
}

func TestSuite(t *testing.T) { attesttest.Run(t, suite(t, machine(t))) }

// TestSuiteWithLog flips a sample of a real log too. Text that no digest covers
// may change; a claim may not, except by vanishing.
func TestSuiteWithLog(t *testing.T) {
	c := suite(t, booted(t, testdata.Ubuntu2404AmdSevSnpEventLog, tpm2.TPMAlgSHA256))
	c.Stride = 211
	c.Harmless = func(sound, got *attest.Result) bool {
		return got.Facts == sound.Facts && got.Identity == sound.Identity && string(got.Recipient) == string(sound.Recipient) &&
			subset(got.Claims, sound.Claims)
	}
	attesttest.Run(t, c)
}

// subset says whether every claim of got is in sound with the same value. What
// is said about the log itself may only get worse.
func subset(got, sound map[string]any) bool {
	for name, v := range got {
		want, ok := sound[name]
		if !ok {
			return false
		}
		if name == "eventlog" {
			worse, was := v.(map[string]any), want.(map[string]any)
			if worse["complete"] == true && was["complete"] == false || len(worse["unexplained"].([]any)) < len(was["unexplained"].([]any)) {
				return false
			}
			continue
		}
		g, isMap := v.(map[string]any)
		if w, both := want.(map[string]any); isMap && both {
			if !subset(g, w) {
				return false
			}
			continue
		}
		if !reflect.DeepEqual(v, want) {
			return false
		}
	}
	return true
}
