package attesttest_test

import (
	"crypto/x509"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	spb "github.com/google/go-sev-guest/proto/sevsnp"
	amd "github.com/google/go-sev-guest/testing"
	sevvalidate "github.com/google/go-sev-guest/validate"
	sevverify "github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"
	tdxverify "github.com/google/go-tdx-guest/verify"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/snp"
	snpformat "github.com/openskr/openskr/attest/snp/format"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	"github.com/openskr/openskr/attest/tdx"
	tdxformat "github.com/openskr/openskr/attest/tdx/format"
	tdxsim "github.com/openskr/openskr/attest/tdx/simulated"
	"github.com/openskr/openskr/internal/strict"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func verify(t *testing.T, v attest.Verifier, ev attest.Evidence) error {
	t.Helper()
	_, err := v.Verify(t.Context(), ev, attest.Expect{At: now, Unbound: true})
	return err
}

// TestDifferentialSNP asks go-sev-guest, with everything allowed that it can allow: a
// release policy judges the rest. The hardware is AMD as that library's own tests make it.
func TestDifferentialSNP(t *testing.T) {
	const product = 0x188 // family, model and stepping
	made := now.Add(-time.Hour)
	b := &amd.AmdSignerBuilder{
		Keys: amd.DefaultAmdKeys(), ProductName: "Milan-B1", HWID: [64]byte{1, 2, 3},
		ArkCreationTime: made, AskCreationTime: made, AsvkCreationTime: made, VcekCreationTime: made, VlekCreationTime: made,
	}
	b.VcekCustom = amd.CertOverride{Extensions: amd.CustomExtensions(kds.TCBParts{BlSpl: 4, SnpSpl: 0x18, UcodeSpl: 0xdb}, b.HWID[:], "", "Milan-B1")}
	s := must(b.TestOnlyCertChain())
	ours := must(snp.New(snp.Config{Products: []snp.Product{{Name: snp.Milan, ARK: s.Ark, ASK: s.Ask, ASVK: s.Asvk}}}))
	theirs := map[string][]*trust.AMDRootCerts{"Milan": {{ProductLine: "Milan", ProductCerts: &trust.ProductCerts{Ask: s.Ask, Ark: s.Ark, Asvk: s.Asvk}}}}
	sound := make([]byte, abi.ReportSize)
	binary.LittleEndian.PutUint32(sound, 3)
	binary.LittleEndian.PutUint64(sound[8:], 0x3001f)
	sound[0x34] = 1
	copy(sound[product:], []byte{0x19, 1, 1})
	copy(sound[0x1a0:], b.HWID[:])
	for _, off := range []int{0x38, 0x180, 0x1e0, 0x1f0} {
		copy(sound[off:], []byte{4, 0, 0, 0, 0, 0, 0x18, 0xdb})
	}
	must(0, snpsim.Sign(sound, s.Keys.Vcek))
	subjectOf := func(what string, report, vcek []byte) subject {
		sub := subject{what: what}
		sub.ours = func() error {
			body := must(strict.Marshal(snpformat.Evidence{Type: attest.TypeSNP, Report: report}))
			return verify(t, ours, attest.Evidence{Type: attest.TypeSNP, Body: body, Endorsements: []attest.Endorsement{{Type: attest.EndorsementCertificate, Data: vcek}}})
		}
		sub.theirs = func() error { return goSEVGuest(report, vcek, theirs) }
		sub.excuse = func() string {
			switch {
			case report[product+1] != sound[product+1]:
				return "the library knows one model number of each product, AMD gives each sixteen"
			case report[product+2] > 0xf:
				return "the library keeps four bits of the eight of the stepping, and then checks the signature of what it kept"
			}
			return ""
		}
		return sub
	}
	differ(t, func() subject { return subjectOf("", sound, s.Vcek.Raw) }, func(r *rand.Rand) subject {
		switch r.IntN(6) {
		case 0:
			return subjectOf("a signed report", changed(r, sound, true), s.Vcek.Raw)
		case 1:
			return subjectOf("a certificate", sound, changed(r, s.Vcek.Raw, true))
		default:
			report := changed(r, sound, false)
			must(0, snpsim.Sign(report, s.Keys.Vcek))
			return subjectOf("a report, then signed", report, s.Vcek.Raw)
		}
	})
}

func goSEVGuest(report, vcek []byte, roots map[string][]*trust.AMDRootCerts) error {
	r, err := abi.ReportToProto(report)
	if err != nil {
		return err
	}
	at := &spb.Attestation{Report: r, CertificateChain: &spb.CertificateChain{VcekCert: vcek}}
	if err := sevverify.SnpAttestation(at, &sevverify.Options{DisableCertFetching: true, Now: now, TrustedRoots: roots}); err != nil {
		return err
	}
	return sevvalidate.SnpAttestation(at, &sevvalidate.Options{
		PermitProvisionalFirmware: true, GuestPolicy: abi.SnpPolicy{SMT: true, MigrateMA: true, CXLAllowed: true},
	})
}

// TestDifferentialTDX asks go-tdx-guest for what the quote alone proves: structure, chain,
// quoting enclave, signatures. Collateral is held against it here only.
func TestDifferentialTDX(t *testing.T) {
	platform := func(edit func([]byte)) *tdxsim.Platform {
		p := must(tdxsim.New([32]byte{1}))
		p.Now, p.TD.Events, p.TD.Edit = func() time.Time { return now }, nil, edit
		return p
	}
	p := platform(nil)
	ours := must(tdx.New(tdx.Config{Type: p.Type, Roots: p.Roots(), Endorser: p}))
	roots := x509.NewCertPool()
	roots.AddCert(p.Roots()[0])
	subjectOf := func(what string, quote []byte) subject {
		return subject{
			what: what,
			ours: func() error {
				return verify(t, ours, attest.Evidence{Type: p.Type, Body: must(strict.Marshal(tdxformat.Evidence{Type: p.Type, Quote: quote}))})
			},
			excuse: func() string { return "" },
			theirs: func() error {
				return tdxverify.RawTdxQuote(quote, &tdxverify.Options{TrustedRoots: roots, Now: &tdxverify.TimeSet{PckCertChain: now}})
			},
		}
	}
	sound := must(p.Quote([64]byte{1}))
	differ(t, func() subject { return subjectOf("", sound) }, func(r *rand.Rand) subject {
		if r.IntN(3) == 0 {
			return subjectOf("a signed quote", changed(r, sound, true))
		}
		q := platform(func(report []byte) { copy(report, changed(r, report, false)) })
		return subjectOf("a report, then signed", must(q.Quote([64]byte{1})))
	})
}
