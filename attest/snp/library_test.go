package snp_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	spb "github.com/google/go-sev-guest/proto/sevsnp"
	sg "github.com/google/go-sev-guest/testing"
	"github.com/google/go-sev-guest/validate"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/snp/simulated"
)

// fake is AMD as go-sev-guest's own tests make it: RSA roots, a Milan VCEK. Both
// verifiers read it.
type fake struct {
	signer *sg.AmdSigner
	roots  map[string][]*trust.AMDRootCerts
	ours   *snp.Verifier
	hwid   [64]byte
}

func newFake(tb testing.TB) *fake {
	tb.Helper()
	made := now.Add(-time.Hour)
	parts := kds.TCBParts{BlSpl: 4, SnpSpl: 0x18, UcodeSpl: 0xdb}
	b := &sg.AmdSignerBuilder{
		Keys: sg.DefaultAmdKeys(), ProductName: "Milan-B1", HWID: [64]byte{1, 2, 3},
		ArkCreationTime: made, AskCreationTime: made, AsvkCreationTime: made, VcekCreationTime: made, VlekCreationTime: made,
	}
	b.VcekCustom = sg.CertOverride{Extensions: sg.CustomExtensions(parts, b.HWID[:], "", "Milan-B1")}
	s, err := b.TestOnlyCertChain()
	if err != nil {
		tb.Fatal(err)
	}
	ours, err := snp.New(snp.Config{Products: []snp.Product{{Name: snp.Milan, ARK: s.Ark, ASK: s.Ask, ASVK: s.Asvk}}})
	if err != nil {
		tb.Fatal(err)
	}
	roots := &trust.AMDRootCerts{ProductLine: "Milan", ProductCerts: &trust.ProductCerts{Ask: s.Ask, Ark: s.Ark, Asvk: s.Asvk}}
	return &fake{s, map[string][]*trust.AMDRootCerts{"Milan": {roots}}, ours, b.HWID}
}

// report is signed after change.
func (f *fake) report(tb testing.TB, change func([]byte)) []byte {
	tb.Helper()
	r := make([]byte, abi.ReportSize)
	binary.LittleEndian.PutUint32(r, 3)
	binary.LittleEndian.PutUint64(r[8:], 0x3001f)
	r[0x34] = 1
	copy(r[0x50:], "report data")
	copy(r[0x188:], []byte{0x19, 1, 1})
	copy(r[0x1a0:], f.hwid[:])
	for _, off := range []int{0x38, 0x180, 0x1e0, 0x1f0} {
		copy(r[off:], []byte{4, 0, 0, 0, 0, 0, 0x18, 0xdb})
	}
	if change != nil {
		change(r)
	}
	if err := simulated.Sign(r, f.signer.Keys.Vcek); err != nil {
		tb.Fatal(err)
	}
	return r
}

// library gives what go-sev-guest says: of chain and signature, and of its second,
// optional step.
func library(report, vcek []byte, opts *verify.Options) (verified, validated error) {
	r, err := abi.ReportToProto(report)
	if err != nil {
		return err, err
	}
	at := &spb.Attestation{Report: r, CertificateChain: &spb.CertificateChain{VcekCert: vcek}}
	opts.DisableCertFetching = true
	if opts.Now.IsZero() {
		opts.Now = now
	}
	return verify.SnpAttestation(at, opts), validate.SnpAttestation(at, &validate.Options{GuestPolicy: abi.SnpPolicy{SMT: true, ABIMinor: 0}})
}

func (f *fake) library(report []byte) (verified, validated error) {
	return library(report, f.signer.Vcek.Raw, &verify.Options{TrustedRoots: f.roots})
}

func (f *fake) verify(tb testing.TB, report []byte) error {
	tb.Helper()
	_, err := f.ours.Verify(tb.Context(), genuine(tb, report, f.signer.Vcek.Raw), attest.Expect{At: now, SignedData: report[0x50:0x90]})
	return err
}
