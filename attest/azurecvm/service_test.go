package azurecvm_test

import (
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm/format"
)

// What the guest client sends names one type and one kind of hardware. The ties between
// its parts are tested through the attestation service.
func TestGuestRefused(t *testing.T) {
	v := verifier(t, both())
	for name, c := range map[string]struct {
		g    format.Guest
		want attest.Check
	}{
		"another type":  {format.Guest{Type: attest.TypeAzureCVM.Simulated()}, attest.CheckTypeNotAllowed},
		"two hardwares": {format.Guest{Type: attest.TypeAzureCVM, Report: make([]byte, 1184), TDQuote: make([]byte, 632)}, attest.CheckNotLinked},
		"long quote":    {format.Guest{Type: attest.TypeAzureCVM, TDQuote: make([]byte, 64<<10)}, attest.CheckMalformed},
		"long runtime":  {format.Guest{Type: attest.TypeAzureCVM, Report: make([]byte, 1184), Runtime: make([]byte, 64<<10)}, attest.CheckMalformed},
		"no runtime":    {format.Guest{Type: attest.TypeAzureCVM, Report: make([]byte, 1184)}, attest.CheckReportData},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := v.Guest(t.Context(), &c.g, nil, attest.Expect{At: now})
			if rej := wantCheck(t, err, c.want); rej != nil && rej.Identity != nil {
				t.Error("names a machine that proved nothing")
			}
		})
	}
}
