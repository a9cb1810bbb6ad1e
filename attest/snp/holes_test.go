package snp_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	spb "github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/validate"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/testdata"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/snp/simulated"
)

// Each test shows what go-sev-guest v0.15.0 does, and then what this package does with
// the same bytes. One that fails on the library's side says that the library changed:
// then its half can go.

// verify.SnpAttestation alone accepts a guest that the host can decrypt, and a
// certificate of any TCB and chip id.
func TestHoleDebugPassesVerification(t *testing.T) {
	if verified, _ := library(testdata.AttestationBytes, testdata.VcekBytes, &verify.Options{}); verified != nil {
		t.Errorf("library: %v", verified)
	}
	_, err := amd(t).Verify(t.Context(), genuine(t, testdata.AttestationBytes, testdata.VcekBytes), attest.Expect{At: now, Unbound: true})
	if checkOf(err) != attest.CheckDebug {
		t.Error(err)
	}
}

func TestHoleAnyTCBPassesVerification(t *testing.T) {
	f := newFake(t)
	for name, c := range map[string]struct {
		change func([]byte)
		check  attest.Check
	}{
		"TCB":  {put(0x180, 3), attest.CheckTCBMismatch},
		"chip": {put(0x1a0, 9), attest.CheckChipMismatch},
	} {
		r := f.report(t, c.change)
		if verified, _ := f.library(r); verified != nil {
			t.Errorf("%s: library: %v", name, verified)
		}
		if err := f.verify(t, r); checkOf(err) != c.check {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// VLEK evidence fails with the library's own roots.
func TestHoleVLEKRoots(t *testing.T) {
	report, vlek := vector(t, "snp-03-milan-vlek-trustee/report.bin"), vector(t, "snp-03-milan-vlek-trustee/vlek.der")
	at := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	r, err := abi.ReportToProto(report)
	if err != nil {
		t.Fatal(err)
	}
	chain := &spb.CertificateChain{VlekCert: vlek}
	if err := verify.SnpAttestation(&spb.Attestation{Report: r, CertificateChain: chain}, &verify.Options{DisableCertFetching: true, Now: at}); err == nil {
		t.Error("the library accepts it")
	}
	if _, err := amd(t).Verify(t.Context(), genuine(t, report, vlek), attest.Expect{At: at, Unbound: true}); err != nil {
		t.Error(err)
	}
}

// The library's Turin VLEK bundle has two bytes too many for its own parser.
func TestHoleTurinBundle(t *testing.T) {
	if err := trust.AMDRootCertsProduct("Turin").FromKDSCertBytes(trust.AskArkTurinVlekBytes); err == nil {
		t.Error("the library reads it")
	}
	products, err := snp.AMD()
	if err != nil || products[2].ASVK == nil || products[2].ASVK.Subject.CommonName != "SEV-VLEK-Turin" {
		t.Error(products, err)
	}
}

// Turin's certificates have a component that the library takes for no AMD extension.
func TestHoleTurin(t *testing.T) {
	ev := vectorCase{name: "snp-07-turin-microsoft", certs: []string{"vcek.pem"}}.evidence(t)
	if verified, _ := library(vector(t, "snp-07-turin-microsoft/report.bin"), vector(t, "snp-07-turin-microsoft/vcek.pem"), &verify.Options{}); verified == nil {
		t.Error("the library accepts Turin")
	}
	if _, err := amd(t).Verify(t.Context(), ev, attest.Expect{At: now, Unbound: true}); err != nil {
		t.Error(err)
	}
}

// Siena and Bergamo are of no product to the library.
func TestHoleSiena(t *testing.T) {
	report, vcek := vector(t, "snp-08-genoa-v5-lunal/report.bin"), vector(t, "snp-08-genoa-v5-lunal/vcek.der")
	if verified, _ := library(report, vcek, &verify.Options{}); verified == nil {
		t.Error("the library accepts it")
	}
	if _, err := amd(t).Verify(t.Context(), genuine(t, report, vcek), attest.Expect{At: now, Unbound: true}); err != nil {
		t.Error(err)
	}
}

type offline struct{}

func (offline) Get(string) ([]byte, error) { return nil, errors.New("offline") }

// The library's revocation check panics on VLEK evidence when it is given VLEK roots:
// a stranger's report ends the process. Here the answer is that the list is missing.
func TestHoleRevocationPanics(t *testing.T) {
	report, vlek := vector(t, "snp-03-milan-vlek-trustee/report.bin"), vector(t, "snp-03-milan-vlek-trustee/vlek.der")
	at := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	root := trust.AMDRootCertsProduct("Milan")
	if err := root.FromKDSCertBytes(trust.AskArkMilanVlekBytes); err != nil {
		t.Fatal(err)
	}
	r, err := abi.ReportToProto(report)
	if err != nil {
		t.Fatal(err)
	}
	panicked := func() (p any) {
		defer func() { p = recover() }()
		_ = verify.SnpAttestation(&spb.Attestation{Report: r, CertificateChain: &spb.CertificateChain{VlekCert: vlek}}, &verify.Options{
			DisableCertFetching: true, CheckRevocations: true, Getter: offline{}, Now: at, TrustedRoots: map[string][]*trust.AMDRootCerts{"Milan": {root}},
		})
		return nil
	}()
	if panicked == nil {
		t.Error("the library no longer panics")
	}
	v, err := snp.New(snp.Config{Endorser: endorse(func(attest.Need) (*attest.Document, error) { return nil, errors.New("offline") })})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), genuine(t, report, vlek), attest.Expect{At: at, Unbound: true}); checkOf(err) != attest.CheckCollateralUnavailable {
		t.Error(err)
	}
}

// The library looks up the ASK alone; TestRevocation has the ASVK, VCEK and VLEK, and
// TestRevocationListItself a list past its update.

// Options of the library may be written by a call. A Verifier keeps nothing of one
// report that another could meet.
func TestHoleOptionsAreWritten(t *testing.T) {
	p := platform(t, 1)
	v := verifier(t, p)
	for _, product := range []string{snp.Milan, snp.Genoa, snp.Milan, snp.Turin, snp.Genoa} {
		res, err := v.Verify(t.Context(), evidence(t, p, simulated.Chip{Product: product}), attest.Expect{At: now})
		if err != nil || claim(res.Claims, "snp.product") != product {
			t.Errorf("%s: %v", product, err)
		}
	}
}

// A version 2 report names no product, so its certificate does: the name counts only
// when that product's issuer signed it.
func TestHoleProductOfVersionTwo(t *testing.T) {
	p := platform(t, 1)
	chip := simulated.Chip{Product: snp.Genoa, Version: 2, Certificate: milanInName}
	if _, err := verifier(t, p).Verify(t.Context(), evidence(t, p, chip), attest.Expect{At: now}); checkOf(err) != attest.CheckChainUntrusted {
		t.Error(err)
	}
	chip.Certificate = nil
	if _, err := verifier(t, p).Verify(t.Context(), evidence(t, p, chip), attest.Expect{At: now}); err != nil {
		t.Error(err)
	}
}

// Certificate tables of some hosts hold PEM, which the library's second step refuses.
func TestHolePEMInTable(t *testing.T) {
	report, blob := vector(t, "snp-09-veraison-tsm/report.bin"), vector(t, "snp-09-veraison-tsm/auxblob.bin")
	var table abi.CertTable
	if err := table.Unmarshal(blob); err != nil {
		t.Fatal(err)
	}
	r, err := abi.ReportToProto(report)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.SnpAttestation(&spb.Attestation{Report: r, CertificateChain: table.Proto()}, &validate.Options{GuestPolicy: abi.SnpPolicy{SMT: true}}); err == nil {
		t.Error("the library accepts it")
	}
	ev := vectorCase{name: "snp-09-veraison-tsm", table: "auxblob.bin"}.evidence(t)
	if _, err := amd(t).Verify(t.Context(), ev, attest.Expect{At: now, Unbound: true}); err != nil {
		t.Error(err)
	}
}

// The library ignores whatever stands behind a report.
func TestHoleTrailingBytes(t *testing.T) {
	f := newFake(t)
	r := f.report(t, nil)
	if err := f.verify(t, r); err != nil {
		t.Fatal(err)
	}
	longer := append(bytes.Clone(r), "more"...)
	if verified, validated := f.library(longer); verified != nil || validated != nil {
		t.Errorf("library: %v, %v", verified, validated)
	}
	if err := f.verify(t, longer); checkOf(err) != attest.CheckMalformed {
		t.Error(err)
	}
}

// With a chip id of zeros the library compares nothing and passes all its checks.
func TestHoleMaskedChip(t *testing.T) {
	f := newFake(t)
	r := f.report(t, func(r []byte) { clear(r[0x1a0:0x1e0]) })
	if verified, validated := f.library(r); verified != nil || validated != nil {
		t.Errorf("library: %v, %v", verified, validated)
	}
	if err := f.verify(t, r); checkOf(err) != attest.CheckChipMismatch {
		t.Error(err)
	}
}
