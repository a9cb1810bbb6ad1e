package attestation_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	azure "github.com/openskr/openskr/attest/azurecvm/format"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	tdxsim "github.com/openskr/openskr/attest/tdx/simulated"
	"github.com/openskr/openskr/attest/token"
	"github.com/openskr/openskr/internal/api/attestation"
	"github.com/openskr/openskr/internal/jose"
	"github.com/openskr/openskr/internal/strict"
	"github.com/openskr/openskr/release"
)

// verified holds a token against /certs with the verifier of foreign tokens: what
// anybody who takes Azure's tokens would do with ours.
func (s *service) verified(jwt, runtimeData string) error {
	s.t.Helper()
	v, err := token.New(token.Config{Issuers: []token.Issuer{{Kind: token.KindMAA, Issuer: "https://" + host, JWKS: s.jwks()}}})
	if err != nil {
		s.t.Fatal(err)
	}
	body, err := strict.Marshal(map[string]string{"type": "token", "token": jwt})
	if err != nil {
		s.t.Fatal(err)
	}
	ev := attest.Evidence{Type: attest.TypeToken, Body: body, RuntimeData: []byte(runtimeData)}
	_, err = v.Verify(s.t.Context(), ev, attest.Expect{At: now(), Unbound: runtimeData == ""})
	return err
}

// native is runtime data that the verifier of tokens takes for a release; its purpose is
// none of our own, which /attest refuses.
const native = `{"keys":[{"kty":"RSA"}],"nonce":"AQ","audience":"a","purpose":"other","key":"k","enc":"e"}`

func TestSNP(t *testing.T) {
	s := newService(t, true)
	jwt, err := s.attest("SevSnpVm", with(s.chip(keys, snpsim.Chip{}), map[string]any{
		"runtimeData": runtimeJSON(keys), "initTimeData": map[string]any{"data": "", "dataType": ""}, "nonce": "n1",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.verified(jwt, ""); err != nil {
		t.Error(err)
	}
	c := claims(t, jwt)
	for name, want := range map[string]any{
		"iss": "https://" + host, "nonce": "n1", "x-ms-ver": "1.0", "x-ms-attestation-type": "sevsnpvm",
		"x-ms-sevsnpvm-is-debuggable": false, "x-ms-sevsnpvm-vmpl": json.Number("0"), "x-ms-compliance-status": "openskr-compliant-cvm",
	} {
		if c[name] != want {
			t.Errorf("%s is %v, want %v", name, c[name], want)
		}
	}
	if c["snp"] != nil || strings.Contains(fmt.Sprint(c), "chip_id") {
		t.Error("tells the chip")
	}
	if r := fmt.Sprint(c["x-ms-runtime"]); !strings.Contains(r, "12345678901234567890") {
		t.Errorf("runtime data is not as sent: %s", r)
	}
	own := c["x-openskr"].(map[string]any)
	for name, want := range map[string]any{
		"simulation": true, "evidence": "simulated-snp", "freshness": "none", "deployment": "d1", "revocation": "checked", "migratable": false,
	} {
		if own[name] != want {
			t.Errorf("x-openskr.%s is %v, want %v", name, own[name], want)
		}
	}
}

// A token of ours is read by the verifier of Azure's, which finds the runtime data that
// the hardware covers in it.
func TestTokenBinds(t *testing.T) {
	s := newService(t, true)
	jwt, err := s.attest("SevSnpVm", with(s.chip(native, snpsim.Chip{}), map[string]any{"runtimeData": runtimeJSON(native)}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.verified(jwt, native); err != nil {
		t.Error(err)
	}
	if err := s.verified(jwt, strings.Replace(native, `"k"`, `"other"`, 1)); err == nil {
		t.Error("binds other runtime data")
	}
}

func TestTimes(t *testing.T) {
	at := time.Unix(1_900_000_000, 0)
	s := newService(t, true)
	later := newService(t, false, func(c *attestation.Config) { c.Now = func() time.Time { return at }; c.Verifier = pass{} })
	jwt, err := later.attest("TdxVm", s.domain("", nil))
	if err != nil {
		t.Fatal(err)
	}
	c := claims(t, jwt)
	if fmt.Sprintf("%v %v %v", c["iat"], c["nbf"], c["exp"]) != "1900000000 1900000000 1900000300" {
		t.Errorf("%v %v %v", c["iat"], c["nbf"], c["exp"])
	}
	other, err := later.attest("TdxVm", s.domain("", nil))
	if err != nil {
		t.Fatal(err)
	}
	id := regexp.MustCompile(`^[0-9a-f]{64}$`)
	if a, b := c["jti"].(string), claims(t, other)["jti"].(string); !id.MatchString(a) || a == b {
		t.Errorf("jti %s, then %s", a, b)
	}
}

func TestTDX(t *testing.T) {
	s := newService(t, true)
	jwt, err := s.attest("TdxVm", with(s.domain(keys, nil), map[string]any{"runtimeData": runtimeJSON(keys), "nonce": json.Number("18446744073709551615")}))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.verified(jwt, ""); err != nil {
		t.Error(err)
	}
	c := claims(t, jwt)
	for name, want := range map[string]any{
		"x-ms-attestation-type": "tdxvm", "dbgstat": "disabled", "attester_tcb_status": "UpToDate", "x-ms-compliance-status": "openskr-compliant-cvm",
		"nonce": json.Number("18446744073709551615"), "eat_profile": "https://aka.ms/maa-eat-profile-tdxvm",
	} {
		if c[name] != want {
			t.Errorf("%s is %v, want %v", name, c[name], want)
		}
	}
	if c["x-openskr"].(map[string]any)["tcb_status"] != "UpToDate" {
		t.Errorf("%v", c["x-openskr"])
	}
}

// What the baseline does not meet has no status, and what no door may have no token.
func TestBaseline(t *testing.T) {
	s := newService(t, true)
	status := func(body map[string]any, path string) any {
		t.Helper()
		jwt, err := s.attest(path, body)
		if err != nil {
			t.Fatal(err)
		}
		return claims(t, jwt)["x-ms-compliance-status"]
	}
	edit := func(at int, v byte) snpsim.Chip { return snpsim.Chip{Report: func(r []byte) { r[at] |= v }} }
	if v := status(s.chip("", edit(48, 1)), "SevSnpVm"); v != nil {
		t.Errorf("VMPL 1 is %v", v)
	}
	if v := status(s.chip("", edit(10, 1<<2)), "SevSnpVm"); v != nil { // policy bit 18
		t.Errorf("migratable is %v", v)
	}
	if v := status(s.domain("", func(p *tdxsim.Platform) { p.TD.Attributes |= 1 << 29 }), "TdxVm"); v != nil {
		t.Errorf("migratable TD is %v", v)
	}
	azures, err := hex.DecodeString("942fd93ebde6ea7a96efadeafc60f1c6b3d10e703b1dafd7555b92f7f3d32d0e006767648cba5b102af3d65756af4177")
	if err != nil {
		t.Fatal(err)
	}
	if v := status(s.chip("", snpsim.Chip{Report: func(r []byte) { copy(r[224:], azures) }}), "SevSnpVm"); v != "openskr-compliant-cvm" {
		t.Errorf("simulated hardware with the ID key of Azure is %v", v)
	}
	_, err = s.attest("SevSnpVm", s.chip("", edit(10, 1<<3)))
	s.refused("debug", err, release.Reason(attest.CheckDebug))
	_, err = s.attest("TdxVm", s.domain("", func(p *tdxsim.Platform) { p.TD.Attributes |= 1 }))
	s.refused("debug TD", err, release.Reason(attest.CheckDebug))
}

// Azure's own word needs the ID key of Azure's paravisor, on real hardware.
func TestAzureReport(t *testing.T) {
	s := newService(t, false)
	for dir, files := range map[string][]string{
		"azure-04-snp-genoa-trustee-v2": {"hcl-report.bin", "vcek.der"},
		"azure-08-snp-genoa-lunal-live": {"hcl-report.bin", "vcek.der"},
	} {
		hcl, err := azure.ParseHCL(vector(t, dir+"/"+files[0]))
		if err != nil {
			t.Fatal(err)
		}
		body := map[string]any{"report": snpReport(hcl.Report, vector(t, dir+"/"+files[1])), "runtimeData": runtimeJSON(string(hcl.Runtime))}
		jwt, err := s.attest("SevSnpVm", body)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		if err := s.verified(jwt, ""); err != nil {
			t.Error(err)
		}
		c := claims(t, jwt)
		want := claims(t, "."+b64u(hcl.Runtime)+".")
		if !reflect.DeepEqual(c["x-ms-runtime"], any(want)) {
			t.Errorf("%s: x-ms-runtime %v", dir, c["x-ms-runtime"])
		}
		if own := c["x-openskr"].(map[string]any); own["simulation"] != false || own["revocation"] != "not_checked" || c["x-ms-compliance-status"] != nil {
			t.Errorf("%s: without revocation lists: %v, %v", dir, own, c["x-ms-compliance-status"])
		}
		checked := newService(t, false, func(c *attestation.Config) { c.Verifier = listed{c.Verifier} })
		if jwt, err = checked.attest("SevSnpVm", body); err != nil || claims(t, jwt)["x-ms-compliance-status"] != "azure-compliant-cvm" {
			t.Errorf("%s: %v, %v", dir, jwt, err)
		}
		body["runtimeData"] = runtimeJSON(keys)
		_, err = s.attest("SevSnpVm", body)
		s.refused("other runtime data", err, release.Reason(attest.CheckReportData))
	}
}

// Real quotes, whose runtime data nobody kept.
func TestRealQuotes(t *testing.T) {
	s := newService(t, false)
	for path, name := range map[string]string{"TdxVm": "tdx-10-lunal-live/quote.bin", "SgxEnclave": "sgx-02-phala/quote.bin"} {
		jwt, err := s.attest(path, map[string]any{"quote": b64u(vector(t, name))})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c := claims(t, jwt)
		if c["x-ms-compliance-status"] != nil || c["attester_tcb_status"] != nil || c["x-openskr"].(map[string]any)["tcb_status"] != "unknown" {
			t.Errorf("%s without collateral: %v", name, c)
		}
		if path == "SgxEnclave" && (c["sgx-mrenclave"] == nil || c["sgx-mrenclave"] != c["x-ms-sgx-mrenclave"] || c["is-debuggable"] != false || c["tee"] != "sgx") {
			t.Errorf("names of the first version: %v", c)
		}
	}
}

// Binary runtime data of an enclave is shown, and its report data is compared.
func TestEnclave(t *testing.T) {
	s := newService(t, false, func(c *attestation.Config) { c.Verifier = pass{} })
	jwt, err := s.attest("SgxEnclave", map[string]any{"quote": "AA==", "runtimeData": map[string]any{"data": "aGVsbG8=", "dataType": "Binary"}})
	if err != nil {
		t.Fatal(err)
	}
	c := claims(t, jwt)
	if c["x-ms-sgx-ehd"] != "aGVsbG8" || c["maa-ehd"] != "aGVsbG8" || c["x-ms-runtime"] != nil {
		t.Errorf("%v", c)
	}
}

// In a deployment that is no simulation, simulated evidence is unknown hardware.
func TestSimulationIsMarked(t *testing.T) {
	s := newService(t, false)
	_, err := s.attest("SevSnpVm", s.chip("", snpsim.Chip{}))
	s.refused("simulated chip", err, release.Reason(attest.CheckChainUntrusted))
	_, err = s.attest("TdxVm", s.domain("", nil))
	s.refused("simulated TD", err, release.Reason(attest.CheckChainUntrusted))
	sim := newService(t, true)
	sim.seed = [32]byte{2}
	_, err = sim.attest("SevSnpVm", sim.chip("", snpsim.Chip{}))
	sim.refused("chip of another simulation", err, release.Reason(attest.CheckChainUntrusted))
}

// In a simulation, real hardware is taken too, and says so.
func TestRealInSimulation(t *testing.T) {
	hcl, err := azure.ParseHCL(vector(t, "azure-08-snp-genoa-lunal-live/hcl-report.bin"))
	if err != nil {
		t.Fatal(err)
	}
	s := newService(t, true)
	jwt, err := s.attest("SevSnpVm", map[string]any{"report": snpReport(hcl.Report, vector(t, "azure-08-snp-genoa-lunal-live/vcek.der"))})
	if err != nil {
		t.Fatal(err)
	}
	if own := claims(t, jwt)["x-openskr"].(map[string]any); own["evidence"] != "snp" || own["simulation"] != true {
		t.Errorf("%v", own)
	}
}

// Init-time data is what the chip was launched with.
func TestInitTimeData(t *testing.T) {
	s := newService(t, true)
	sum := sha256.Sum256([]byte(`{"policy":1}`))
	launched := snpsim.Chip{Report: func(r []byte) { copy(r[192:224], sum[:]) }}
	jwt, err := s.attest("SevSnpVm", with(s.chip("", launched), map[string]any{"initTimeData": runtimeJSON(`{"policy":1}`)}))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(claims(t, jwt)["x-ms-inittime"]); got != "map[policy:1]" {
		t.Error(got)
	}
	_, err = s.attest("SevSnpVm", with(s.chip("", launched), map[string]any{"initTimeData": runtimeJSON(`{"policy":2}`)}))
	s.refused("another policy", err, release.Reason(attest.CheckReportData))
	_, err = s.attest("TdxVm", with(s.domain("", nil), map[string]any{"initTimeData": runtimeJSON(`{}`)}))
	s.refused("of a TD", err, release.ReasonNotOffered)
}

// The new key of a rotation is published before it signs.
func TestPublished(t *testing.T) {
	s := newService(t, true)
	set, err := jose.ParseKeySet(s.jwks())
	if err != nil || len(set) != 2 {
		t.Fatalf("%d keys, %v", len(set), err)
	}
	jwt, err := s.attest("SevSnpVm", s.chip("", snpsim.Chip{}))
	if err != nil {
		t.Fatal(err)
	}
	f, err := jose.SplitForeign(jwt, len(jwt))
	if err != nil || f.KID != set[0].KID {
		t.Errorf("signed by %s, %v", f.KID, err)
	}
	head, _, _ := strings.Cut(jwt, ".")
	text, _ := base64.RawURLEncoding.DecodeString(head)
	if !strings.Contains(string(text), `"jku":"https://`+host+`/certs"`) {
		t.Errorf("%s", text)
	}
}
