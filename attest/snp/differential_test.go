package snp_test

import (
	"testing"

	"github.com/google/go-sev-guest/abi"
	spb "github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/validate"
	"github.com/google/go-sev-guest/verify"

	"github.com/openskr/openskr/attest"
)

// TestDifferential changes a bit of every byte that is signed, signs again, and asks
// both: what this package accepts, go-sev-guest must not refuse for a reason that was
// overlooked here. Its policy is as open as it goes, since a release policy judges that.
func TestDifferential(t *testing.T) {
	f := newFake(t)
	accepted := 0
	for off := range 0x2a0 {
		bit := byte(1) << (off % 8)
		r := f.report(t, func(r []byte) { r[off] ^= bit })
		_, ours := f.ours.Verify(t.Context(), genuine(t, r, f.signer.Vcek.Raw), attest.Expect{At: now, Unbound: true})
		if ours != nil {
			continue
		}
		accepted++
		if off == 0x189 {
			continue // the library knows one model number of each product, AMD gives each sixteen
		}
		if err := f.open(r); err != nil {
			t.Errorf("byte %#x, bit %#x: accepted here, and the library says: %v", off, bit, err)
		}
	}
	if accepted < 300 || accepted > 500 { // digests, ids, versions and levels that nothing reserves
		t.Errorf("%d changed reports accepted", accepted)
	}
}

// open is the library with everything allowed that can be.
func (f *fake) open(report []byte) error {
	r, err := abi.ReportToProto(report)
	if err != nil {
		return err
	}
	at := &spb.Attestation{Report: r, CertificateChain: &spb.CertificateChain{VcekCert: f.signer.Vcek.Raw}}
	if err := verify.SnpAttestation(at, &verify.Options{DisableCertFetching: true, Now: now, TrustedRoots: f.roots}); err != nil {
		return err
	}
	return validate.SnpAttestation(at, &validate.Options{
		PermitProvisionalFirmware: true,
		GuestPolicy:               abi.SnpPolicy{SMT: true, MigrateMA: true, CXLAllowed: true},
	})
}
