package dcap

import "github.com/openskr/openskr/attest"

// Intel's words for a TCB (Provisioning Certification Service v4, "tcbStatus").
const (
	SWHardeningNeeded                 = "SWHardeningNeeded"
	ConfigurationNeeded               = "ConfigurationNeeded"
	ConfigurationAndSWHardeningNeeded = "ConfigurationAndSWHardeningNeeded"
	OutOfDate                         = "OutOfDate"
	OutOfDateConfigurationNeeded      = "OutOfDateConfigurationNeeded"
)

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

// flawsOf reads Intel's word. An unknown one is no status at all.
func flawsOf(status string) (flaws, bool) {
	switch status {
	case attest.TCBUpToDate:
		return 0, true
	case SWHardeningNeeded:
		return hardening, true
	case ConfigurationNeeded:
		return configuration, true
	case ConfigurationAndSWHardeningNeeded:
		return configuration | hardening, true
	case OutOfDate:
		return outOfDate, true
	case OutOfDateConfigurationNeeded:
		return outOfDate | configuration, true
	case attest.TCBRevoked:
		return revoked, true
	}
	return 0, false
}

func (f flaws) String() string {
	switch {
	case f&revoked != 0:
		return attest.TCBRevoked
	case f&(outOfDate|configuration) == outOfDate|configuration:
		return OutOfDateConfigurationNeeded
	case f&outOfDate != 0:
		return OutOfDate
	case f&(configuration|hardening) == configuration|hardening:
		return ConfigurationAndSWHardeningNeeded
	case f&configuration != 0:
		return ConfigurationNeeded
	case f&hardening != 0:
		return SWHardeningNeeded
	}
	return attest.TCBUpToDate
}
