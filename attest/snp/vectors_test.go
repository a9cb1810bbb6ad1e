package snp_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-sev-guest/verify/testdata"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/snp/format"
)

// now is when the vectors without a clock of their own are judged.
var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// vector reads a file of the real evidence that CI has, and skips without it.
func vector(tb testing.TB, name string) []byte {
	tb.Helper()
	dir := os.Getenv("OPENSKR_VECTORS")
	if dir == "" {
		tb.Skip("OPENSKR_VECTORS is not set")
	}
	b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// genuine makes Evidence of a report of AMD hardware.
func genuine(tb testing.TB, report []byte, ends ...[]byte) attest.Evidence {
	tb.Helper()
	body, err := json.Marshal(format.Evidence{Type: attest.TypeSNP, Report: report})
	if err != nil {
		tb.Fatal(err)
	}
	ev := attest.Evidence{Type: attest.TypeSNP, Body: body}
	for _, e := range ends {
		ev.Endorsements = append(ev.Endorsements, attest.Endorsement{Type: attest.EndorsementCertificate, Data: e})
	}
	return ev
}

func amd(tb testing.TB) *snp.Verifier {
	tb.Helper()
	v, err := snp.New(snp.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// claim walks to a member by its path, with dots between names.
func claim(c map[string]any, path string) any {
	if v, ok := c[path]; ok {
		return v
	}
	head, rest, deeper := strings.Cut(path, ".")
	sub, _ := c[head].(map[string]any)
	if !deeper {
		return nil
	}
	return claim(sub, rest)
}

func checkOf(err error) attest.Check {
	var r *attest.Rejection
	if errors.As(err, &r) {
		return r.Check
	}
	return ""
}

type vectorCase struct {
	name   string // folder
	report string
	certs  []string
	table  string
	at     time.Time // zero: now
	check  attest.Check
	claims map[string]any
}

// vectorCases are the folders of real reports, each with the outcome it must have.
func vectorCases() []vectorCase {
	vlek := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	return []vectorCase{
		{name: "snp-01-milan-gosevguest", certs: []string{"vcek.der"}, check: attest.CheckDebug},
		{name: "snp-02-milan-trustee", certs: []string{"vcek.der"}, claims: map[string]any{
			"snp.product": "Milan", "snp.version": int64(2), "snp.signer": "vcek", "snp.provisional": true,
			"x-ms-sevsnpvm-guestsvn": int64(4), "snp.policy.abi_minor": int64(0x1f), "snp.policy.smt": true, "snp.policy.debug": false,
			"snp.tcb.current.microcode": int64(0xce), "snp.tcb.reported.boot_loader": int64(3), "snp.tcb.reported.microcode": int64(0x73),
			"x-ms-sevsnpvm-idkeydigest": "0356215882a825279a85b300b0b742931d113bf7e32dde2e50ffde7ec743ca491ecdd7f336dc28a6e0b2bb57af7a44a3",
		}},
		{name: "snp-02-milan-trustee", certs: []string{"ask_ark_asvk.pem", "vcek.der"}},
		{name: "snp-02-milan-trustee", certs: []string{"negative-vcek-invalid-legacy.der"}, check: attest.CheckChainUntrusted},
		{name: "snp-02-milan-trustee", certs: []string{"negative-vcek-invalid-new.der"}, check: attest.CheckChainUntrusted},
		{name: "snp-02-milan-trustee", check: attest.CheckChainUntrusted},
		{name: "snp-03-milan-vlek-trustee", certs: []string{"vlek.der"}, at: vlek, claims: map[string]any{
			"snp.product": "Milan", "snp.signer": "vlek", "snp.csp_id": "CN=cc-us-east-2.amazonaws.com", "snp.chip_id": nil,
			"x-ms-sevsnpvm-vmpl": int64(1), "snp.tcb.reported.microcode": int64(0xd9), "snp.tcb.current.microcode": int64(0xdc),
			"snp.platform_info.tsme": true, "snp.platform_info.alias_check_complete": true,
		}},
		{name: "snp-03-milan-vlek-trustee", certs: []string{"vlek.der"}, check: attest.CheckChainExpired},
		{name: "snp-04-milan-virtee", certs: []string{"vcek.der"}, claims: map[string]any{
			"snp.product": "Milan", "snp.policy.abi_minor": int64(0), "snp.provisional": false, "snp.cpu": nil, "snp.launch_mitigation_vector": nil,
		}},
		{name: "snp-05-milan-microsoft", certs: []string{"ark.pem", "vcek.pem", "ask.pem"}, claims: map[string]any{
			"snp.product": "Milan", "snp.version": int64(3), "snp.tcb.reported.snp": int64(0x18), "snp.cpu.family": int64(0x19),
			"snp.platform_info.alias_check_complete": true, "snp.platform_info.tsme": false,
		}},
		{name: "snp-07-turin-microsoft", certs: []string{"vcek.pem"}, claims: map[string]any{
			"snp.product": "Turin", "snp.version": int64(5), "snp.tcb.reported.fmc": int64(1), "snp.tcb.reported.boot_loader": int64(1),
			"snp.tcb.reported.tee": int64(1), "snp.tcb.reported.snp": int64(4), "snp.tcb.reported.microcode": int64(81),
			"x-ms-sevsnpvm-snpfw-svn": int64(4), "x-ms-sevsnpvm-bootloader-svn": int64(1), "snp.current_mitigation_vector": uint64(0x3f),
			"snp.chip_id": "59790fb1c39f35c1" + strings.Repeat("0", 112),
		}},
		{name: "snp-08-genoa-v5-lunal", certs: []string{"vcek.der", "ask.der", "ark.der"}, claims: map[string]any{
			"snp.product": "Genoa", "snp.version": int64(5), "snp.cpu.model": int64(0xa0), "snp.tcb.reported.boot_loader": int64(0x0a),
			"snp.tcb.reported.snp": int64(0x1b), "snp.launch_mitigation_vector": uint64(0x0b), "snp.tcb.reported.fmc": nil,
		}},
		{name: "snp-09-veraison-tsm", table: "auxblob.bin", claims: map[string]any{
			"snp.product": "Genoa", "snp.version": int64(3), "snp.cpu.model": int64(0x11), "snp.tcb.reported.microcode": int64(0x54),
		}},
		{name: "snp-04-milan-virtee", certs: []string{"../snp-02-milan-trustee/vcek.der"}, check: attest.CheckChipMismatch},
		{name: "snp-08-genoa-v5-lunal", certs: []string{"../snp-05-milan-microsoft/vcek.pem"}, check: attest.CheckChipMismatch},
		{name: "azure-01-snp-milan-tooling", report: "hcl-report-snp.bin", certs: []string{"certs.pem"}, check: attest.CheckChipMismatch},
		{name: "azure-03-snp-genoa-trustee-v1", report: "hcl-report.bin", certs: []string{"vcek.der"}, claims: map[string]any{"snp.product": "Milan", "x-ms-sevsnpvm-guestsvn": int64(10)}},
		{name: "azure-04-snp-genoa-trustee-v2", report: "hcl-report.bin", certs: []string{"vcek.der"}, claims: map[string]any{"snp.product": "Milan", "x-ms-sevsnpvm-guestsvn": int64(12)}},
		{name: "azure-08-snp-genoa-lunal-live", report: "hcl-report.bin", certs: []string{"imds-chain-0.der", "imds-chain-1.der", "imds-vcek.der"}, claims: map[string]any{"x-ms-sevsnpvm-vmpl": int64(0)}},
	}
}

// evidence reads a case's files.
func (c vectorCase) evidence(tb testing.TB) attest.Evidence {
	tb.Helper()
	if c.report == "" {
		c.report = "report.bin"
	}
	report := vector(tb, c.name+"/"+c.report)
	if strings.HasPrefix(c.name, "azure") {
		report = report[32 : 32+snp.ReportSize] // behind the header of the HCL report
	}
	var certs [][]byte
	for _, f := range c.certs {
		certs = append(certs, vector(tb, c.name+"/"+f))
	}
	ev := genuine(tb, report, certs...)
	if c.table != "" {
		ev.Endorsements = []attest.Endorsement{{Type: attest.EndorsementCertificateTable, Data: vector(tb, c.name+"/"+c.table)}}
	}
	return ev
}

func TestVectors(t *testing.T) {
	v := amd(t)
	for _, c := range vectorCases() {
		t.Run(c.name+" "+strings.Join(c.certs, " "), func(t *testing.T) {
			if c.at.IsZero() {
				c.at = now
			}
			res, err := v.Verify(t.Context(), c.evidence(t), attest.Expect{At: c.at, Unbound: true})
			if got := checkOf(err); got != c.check || err != nil && got == "" {
				t.Fatalf("%v, want check %q", err, c.check)
			}
			if err != nil {
				return
			}
			if f := res.Facts; !f.Chain || !f.Signature || f.Bound || f.Revocation != attest.NotChecked || f.Freshness != attest.NotChecked {
				t.Errorf("facts %+v", f)
			}
			for path, want := range c.claims {
				if got := claim(res.Claims, path); got != want {
					t.Errorf("claim %s is %v (%T), want %v", path, got, got, want)
				}
			}
		})
	}
}

// TestModuleReport needs no vectors: go-sev-guest ships a real report of a guest that
// allows debugging, which verifies but for that.
func TestModuleReport(t *testing.T) {
	report := slices.Clone(testdata.AttestationBytes)
	ev := genuine(t, report, testdata.VcekBytes)
	_, err := amd(t).Verify(t.Context(), ev, attest.Expect{At: now, SignedData: report[0x50:0x90]})
	if checkOf(err) != attest.CheckDebug {
		t.Error(err)
	}
	var r *attest.Rejection
	if !errors.As(err, &r) || r.Identity == nil || r.Identity.Kind != "snp" {
		t.Errorf("a proven chip is not named: %v", r)
	}
	report[0x90] ^= 1
	if _, err := amd(t).Verify(t.Context(), genuine(t, report, testdata.VcekBytes), attest.Expect{At: now, Unbound: true}); checkOf(err) != attest.CheckSignature {
		t.Error(err)
	}
}
