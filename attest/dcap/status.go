package dcap

import "github.com/openskr/openskr/attest"

// flaws is a TCB status taken apart, so that the worst of two statuses is the union
// of what is wrong with each. The table of Intel's Quote Verification Library
// (convergeTcbStatus) is that union: OutOfDate hides SWHardeningNeeded, and keeps
// ConfigurationNeeded.
type flaws uint8

const (
	hardening flaws = 1 << iota
	configuration
	outOfDate
	revoked
)

type status struct {
	word  string
	flaws flaws
}

// statuses are Intel's words for a TCB (Provisioning Certification Service v4,
// "tcbStatus").
func statuses() [7]status {
	return [...]status{
		{attest.TCBUpToDate, 0},
		{"SWHardeningNeeded", hardening},
		{"ConfigurationNeeded", configuration},
		{"ConfigurationAndSWHardeningNeeded", configuration | hardening},
		{"OutOfDate", outOfDate},
		{"OutOfDateConfigurationNeeded", outOfDate | configuration},
		{attest.TCBRevoked, revoked},
	}
}

// flawsOf reads Intel's word. An unknown one is no status at all.
func flawsOf(word string) (flaws, bool) {
	for _, s := range statuses() {
		if s.word == word {
			return s.flaws, true
		}
	}
	return 0, false
}

// String is the word for the worst of f.
func (f flaws) String() string {
	switch {
	case f&revoked != 0:
		f = revoked
	case f&outOfDate != 0:
		f &^= hardening
	}
	for _, s := range statuses() {
		if s.flaws == f {
			return s.word
		}
	}
	return attest.TCBRevoked // no union is left over
}
