package azurecvm_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/attesttest"
	"github.com/openskr/openskr/attest/azurecvm"
	"github.com/openskr/openskr/attest/azurecvm/format"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/tdx"
	"github.com/openskr/openskr/internal/strict"
)

// folder is evidence of a real machine.
type folder struct {
	t    *testing.T
	path string
}

func vector(t *testing.T, id string) folder {
	t.Helper()
	dir := os.Getenv("OPENSKR_VECTORS")
	if dir == "" {
		t.Skip("OPENSKR_VECTORS is not set")
	}
	return folder{t, filepath.Join(dir, id)}
}

func (f folder) has(name string) bool {
	_, err := os.Stat(filepath.Join(f.path, name))
	return err == nil
}

func (f folder) read(name string) []byte {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.path, name))
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// body makes evidence of files; a folder may lack the TPM's part.
func (f folder) body(hcl string) *format.Evidence {
	f.t.Helper()
	b := &format.Evidence{Type: attest.TypeAzureCVM, HCL: f.read(hcl)}
	b.TPM.Type = attest.TypeTPM
	if f.has("td-quote.bin") {
		b.TDQuote = f.read("td-quote.bin")
	}
	if !f.has("tpm-quote.msg") {
		return b
	}
	sig := f.read("tpm-quote.sig")
	b.TPM.Quote = f.read("tpm-quote.msg")
	b.TPM.Signature = append([]byte{0, 0x14, 0, 0x0b, byte(len(sig) >> 8), byte(len(sig))}, sig...)
	values := map[string]attest.Bytes{}
	for i, line := range strings.Fields(string(f.read("pcrs-sha256.txt"))) {
		v, err := hex.DecodeString(line)
		if err != nil {
			f.t.Fatal(err)
		}
		values[strconv.Itoa(i)] = v
	}
	b.TPM.PCRs = map[string]map[string]attest.Bytes{"sha256": values}
	return b
}

// evidence packs a body with the certificates of these files.
func (f folder) evidence(b *format.Evidence, certs ...string) attest.Evidence {
	f.t.Helper()
	body, err := strict.Marshal(b)
	if err != nil {
		f.t.Fatal(err)
	}
	ev := attest.Evidence{Type: attest.TypeAzureCVM, Body: body}
	for _, name := range certs {
		ev.Endorsements = append(ev.Endorsements, attest.Endorsement{Type: attest.EndorsementCertificate, Data: f.read(name)})
	}
	return ev
}

// clock is a time at which every certificate of the real machines is valid.
var clock = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// offline trusts AMD and Intel and asks nobody.
func offline(t testing.TB) *azurecvm.Verifier {
	t.Helper()
	s, err := snp.New(snp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	x, err := tdx.New(tdx.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return verifier(t, azurecvm.Config{SNP: s, TDX: x})
}

// TestVectors is every real machine there is, with the claims that evidence of it has.
func TestVectors(t *testing.T) {
	snpClaims := func(vmid, user string) map[string]any {
		return map[string]any{
			"x-ms-azurevm-vmid": vmid, "azure.hcl_version": int64(1), "azure.user_data": user, "azure.secure_boot": true,
			"x-ms-isolation-tee.x-ms-attestation-type": "sevsnpvm", "x-ms-isolation-tee.x-ms-sevsnpvm-vmpl": int64(0),
			"x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable": false, "x-ms-isolation-tee.x-ms-sevsnpvm-smt-allowed": true,
			"snp.product": "Milan", "snp.signer": "vcek",
		}
	}
	none := strings.Repeat("0", 128)
	for _, c := range []struct {
		id, hcl string
		certs   []string
		signed  string // extraData; 48 bytes in hex for azure-04
		claims  map[string]any
		want    attest.Check
	}{
		{"azure-01-snp-milan-tooling", "hcl-report-snp.bin", []string{"certs.pem"}, "", nil, attest.CheckChipMismatch},
		{"azure-02-tdx-tooling", "hcl-report-tdx.bin", nil, "", nil, attest.CheckNotLinked},
		{"azure-03-snp-genoa-trustee-v1", "hcl-report.bin", []string{"vcek.der"}, "challenge", snpClaims("26F8BC30-774E-4290-8E7A-535F3B672AEE", none), ""},
		{"azure-04-snp-genoa-trustee-v2", "hcl-report.bin", []string{"vcek.der"}, "", snpClaims("7DF7B373-B947-4AAA-96E5-C358F2A03D20",
			"982f5c6e45df0ed3f10b6f60b02f0c8390e281300f3805e2279c16168cd6ae9aa398f647caa2338748cd0fd9f5f819ef00000000000000000000000000000000"), ""},
		{"azure-06-tdx-trustee-v1", "hcl-report.bin", nil, "challenge", map[string]any{
			"x-ms-azurevm-vmid": "6332533D-5649-4D02-8AA7-8F64B7C3EE21", "azure.hcl_version": int64(2),
			"x-ms-isolation-tee.x-ms-attestation-type": "tdxvm", "x-ms-isolation-tee.tdx_rtmr0": strings.Repeat("0", 96), "azure.tpm_persisted": false,
		}, ""},
		{
			"azure-08-snp-genoa-lunal-live", "hcl-report.bin",
			[]string{"imds-vcek.der", "imds-chain-0.der", "imds-chain-1.der"},
			"attestation-test-fixture",
			snpClaims("02FE12EC-5B74-4A1B-B261-8EA46FE9AF36", none), "",
		},
	} {
		t.Run(c.id, func(t *testing.T) {
			f := vector(t, c.id)
			b := f.body(c.hcl)
			want := attest.Expect{At: clock, SignedData: []byte(c.signed)}
			switch {
			case c.want != "":
				want = attest.Expect{At: clock, Unbound: true}
			case c.signed == "":
				want.SignedData = extraData(t, b.TPM.Quote)
			}
			res, err := offline(t).Verify(t.Context(), f.evidence(b, c.certs...), want)
			if c.want != "" {
				wantCheck(t, err, c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !res.Facts.Chain || !res.Facts.Signature || res.Facts.Debug || res.Facts.Freshness != attest.Checked || res.Facts.Bound {
				t.Errorf("facts %+v", res.Facts)
			}
			for path, v := range c.claims {
				if got := claim(res.Claims, path); got != v {
					t.Errorf("%s is %v, want %v", path, got, v)
				}
			}
			want.SignedData = []byte("another challenge")
			_, err = offline(t).Verify(t.Context(), f.evidence(b, c.certs...), want)
			wantCheck(t, err, attest.CheckReportData)
		})
	}
}

// TestVectorBits flips a bit in every fifth byte of real HCL reports (EV-02): whatever is
// still accepted says the same.
func TestVectorBits(t *testing.T) {
	for id, certs := range map[string][]string{"azure-08-snp-genoa-lunal-live": {"vcek.der"}, "azure-06-tdx-trustee-v1": nil} {
		f, v, want := vector(t, id), offline(t), attest.Expect{At: clock, Unbound: true}
		b := f.body("hcl-report.bin")
		sound, err := v.Verify(t.Context(), f.evidence(b, certs...), want)
		if err != nil {
			t.Fatal(err)
		}
		const report = 32 // of a TDREPORT only its processor can check CPUSVN and MAC
		for i := range b.HCL {
			if i%5 != 0 || testing.Short() && i%35 != 0 { // all take 10 s
				continue
			}
			b.HCL[i] ^= 1 << (i % 8)
			got, err := v.Verify(t.Context(), f.evidence(b, certs...), want)
			b.HCL[i] ^= 1 << (i % 8)
			local := certs == nil && (i >= report+16 && i < report+32 || i >= report+224 && i < report+256)
			if err == nil && (!local || !reflect.DeepEqual(sound, got)) {
				t.Errorf("%s: bit %d of byte %d may be changed", id, i%8, i)
			}
		}
	}
}

// Offline, a quote without values proves its other half. With a log, or for a release,
// values are needed.
func TestVectorWithoutPCRs(t *testing.T) {
	f := vector(t, "azure-03-snp-genoa-trustee-v1")
	b := f.body("hcl-report.bin")
	b.TPM.PCRs = nil
	want := attest.Expect{At: clock, SignedData: []byte("challenge")}
	res, err := offline(t).Verify(t.Context(), f.evidence(b, "vcek.der"), want)
	if err != nil || res.Claims["x-ms-azurevm-attested-pcrs"] != nil {
		t.Fatalf("%v, %v", res, err)
	}
	b.TPM.EventLog = []byte{0}
	_, err = offline(t).Verify(t.Context(), f.evidence(b, "vcek.der"), want)
	wantCheck(t, err, attest.CheckPCRBank)
}

// extraData of a TPMS_ATTEST: behind magic, type and the signer's name.
func extraData(t *testing.T, quote []byte) []byte {
	t.Helper()
	at := 6 + 2 + int(quote[7])
	return quote[at+2 : at+2+int(quote[at+1])]
}

func claim(claims map[string]any, path string) any {
	name, rest, more := strings.Cut(path, ".")
	if !more {
		return claims[name]
	}
	o, _ := claims[name].(map[string]any)
	return claim(o, rest)
}

// TestVectorParts changes real evidence: each part is needed, and of its machine.
func TestVectorParts(t *testing.T) {
	snp3, snp8, tdx6 := vector(t, "azure-03-snp-genoa-trustee-v1"), vector(t, "azure-08-snp-genoa-lunal-live"), vector(t, "azure-06-tdx-trustee-v1")
	body := func() *format.Evidence { return snp3.body("hcl-report.bin") }
	for name, c := range map[string]struct {
		ev   func() attest.Evidence
		want attest.Check
	}{
		"quote of another machine": {func() attest.Evidence {
			b := body()
			b.TPM = snp8.body("hcl-report.bin").TPM
			return snp3.evidence(b, "vcek.der")
		}, attest.CheckSignature},
		"certificate of another chip": {func() attest.Evidence {
			ev := snp3.evidence(body())
			ev.Endorsements = snp8.evidence(body(), "vcek.der").Endorsements
			return ev
		}, attest.CheckChipMismatch},
		"no certificate": {func() attest.Evidence { return snp3.evidence(body()) }, attest.CheckChainUntrusted},
		"TD quote of a TDX machine": {func() attest.Evidence {
			b := body()
			b.TDQuote = tdx6.read("td-quote.bin")
			return snp3.evidence(b, "vcek.der")
		}, attest.CheckNotLinked},
		"TDREPORT of another machine": {func() attest.Evidence {
			b := tdx6.body("hcl-report.bin")
			b.HCL = vector(t, "azure-02-tdx-tooling").read("hcl-report-tdx.bin")
			return tdx6.evidence(b)
		}, attest.CheckNotLinked},
		"PCRs in another order": {func() attest.Evidence {
			b := body()
			p := b.TPM.PCRs["sha256"]
			p["4"], p["7"] = p["7"], p["4"]
			return snp3.evidence(b, "vcek.der")
		}, attest.CheckPCRDigest},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := offline(t).Verify(t.Context(), c.ev(), attest.Expect{At: clock, SignedData: []byte("challenge")})
			wantCheck(t, err, c.want)
		})
	}
}

// TestVectorsMatchSchema holds every claim of a real machine against the schema.
func TestVectorsMatchSchema(t *testing.T) {
	for id, certs := range map[string][]string{"azure-03-snp-genoa-trustee-v1": {"vcek.der"}, "azure-06-tdx-trustee-v1": nil} {
		f := vector(t, id)
		b := f.body("hcl-report.bin")
		b.Client = &format.Client{OSType: "a", OSDistro: "b", OSVersion: "c", OSBuild: "d", Payload: map[string]string{"x": "y"}}
		res, err := offline(t).Verify(t.Context(), f.evidence(b, certs...), attest.Expect{At: clock, Unbound: true})
		if err != nil {
			t.Fatal(err)
		}
		attesttest.Claims(t, res.Claims, azurecvm.Schema())
	}
}
