package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/openskr/openskr/attest"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	tdxsim "github.com/openskr/openskr/attest/tdx/simulated"
	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/keyvault"
	"github.com/openskr/openskr/release/receipt"
)

// vendor is AMD and Intel of a private cloud: a web server with what they publish.
type vendor struct {
	amd     *snpsim.Platform
	intel   *tdxsim.Platform
	server  *httptest.Server
	down    atomic.Bool
	answers atomic.Int64 // documents given
}

func newVendor(t *testing.T) *vendor {
	t.Helper()
	v := &vendor{}
	var err1, err2 error
	v.amd, err1 = snpsim.New([32]byte{7})
	v.intel, err2 = tdxsim.New([32]byte{7})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	v.server = httptest.NewTLSServer(v)
	t.Cleanup(v.server.Close)
	return v
}

// asks are the addresses of AMD's Key Distribution Service and Intel's Provisioning
// Certification Service, with what each is asked for and where its chain goes.
func asks() []struct {
	path   *regexp.Regexp
	need   attest.Need
	header string
} {
	return []struct {
		path   *regexp.Regexp
		need   attest.Need
		header string
	}{
		{regexp.MustCompile(`^/vcek/v1/(Milan)/crl$`), attest.Need{Kind: attest.NeedAMDCRL, ID: "vcek/$1"}, ""},
		{regexp.MustCompile(`^/vcek/v1/(Milan/[0-9a-f]{128}\?.*)$`), attest.Need{Kind: attest.NeedAMDVCEK, ID: "$1"}, ""},
		{regexp.MustCompile(`^/tdx/certification/v4/tcb\?fmspc=(.*)$`), attest.Need{Kind: attest.NeedIntelTCB, ID: "tdx/$1"}, "Tcb-Info-Issuer-Chain"},
		{regexp.MustCompile(`^/tdx/certification/v4/qe/identity$`), attest.Need{Kind: attest.NeedIntelQE, ID: "tdx"}, "Sgx-Enclave-Identity-Issuer-Chain"},
		{regexp.MustCompile(`^/sgx/certification/v4/pckcrl\?ca=(platform)&encoding=der$`), attest.Need{Kind: attest.NeedIntelPCKCRL, ID: "$1"}, "Sgx-Pck-Crl-Issuer-Chain"},
		{regexp.MustCompile(`^/sgx/certification/v4/rootcacrl$`), attest.Need{Kind: attest.NeedIntelRootCRL}, ""},
	}
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if v.down.Load() {
		http.Error(w, "maintenance", http.StatusServiceUnavailable)
		return
	}
	for _, a := range asks() {
		at := a.path.FindStringSubmatchIndex(r.URL.RequestURI())
		if at == nil {
			continue
		}
		need := attest.Need{Kind: a.need.Kind, ID: string(a.path.ExpandString(nil, a.need.ID, r.URL.RequestURI(), at))}
		var from attest.Endorser = v.intel
		if need.Kind == attest.NeedAMDCRL || need.Kind == attest.NeedAMDVCEK {
			from = v.amd.Endorser()
		}
		doc, err := from.Endorse(r.Context(), need)
		if err != nil {
			break
		}
		if a.header != "" {
			w.Header().Set(a.header, url.PathEscape(string(doc.Chain)))
		}
		v.answers.Add(1)
		body := doc.Data
		if need.Kind == attest.NeedIntelRootCRL {
			body = []byte(hex.EncodeToString(body)) // as a PCCS gives it
		}
		_, _ = w.Write(body)
		return
	}
	http.NotFound(w, r)
}

// roots are the files that a deployment trusts this vendor by.
func (v *vendor) roots(t *testing.T) (amd, intel string) {
	t.Helper()
	dir := t.TempDir()
	block := func(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}) }
	amd, intel = filepath.Join(dir, "milan.pem"), filepath.Join(dir, "intel.pem")
	for _, p := range v.amd.Products() {
		if p.Name == "Milan" {
			write(t, amd, append(block(p.ARK.Raw), block(p.ASK.Raw)...))
		}
	}
	write(t, intel, block(v.intel.Roots()[0].Raw))
	return amd, intel
}

// vendorRig is a deployment that is no simulation and trusts a private cloud, with a
// key for TDX, one for TDX that names its TCB status, and one for SEV-SNP.
type vendorRig struct {
	*teeRig
	vendor                *vendor
	tdxKey, named, snpKey string
}

func newVendorRig(t *testing.T) *vendorRig {
	t.Helper()
	r := &vendorRig{teeRig: &teeRig{rig: bareRig(t, initFlags{})}, vendor: newVendor(t)}
	amd, intel := r.vendor.roots(t)
	for line, into := range map[string]string{
		"amd_kds: []": r.vendor.server.URL, "intel_pcs: []": r.vendor.server.URL, "snp_roots: []": amd, "intel_roots: []": intel,
	} {
		r.configure(t, line, strings.Replace(line, "[]", "["+into+"]", 1))
	}
	mirror := filepath.Join(t.TempDir(), "mirror.pem")
	write(t, mirror, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.vendor.server.Certificate().Raw}))
	r.env = []string{"SSL_CERT_FILE=" + mirror}
	key := func(ctx context.Context, b *broker, name, condition string) string {
		policy := fmt.Appendf(nil, "package release\n\ndefault allow := false\n\nallow if {\n\t%s\n}\n", condition)
		return r.makeKey(ctx, b, name, keyvault.CreateKey{Kty: keyvault.KtyOct, Size: 256}, policy)
	}
	r.withBroker(func(ctx context.Context, b *broker) {
		mrtd := r.vendor.intel.Report([64]byte{})[136:184]
		r.tdxKey = key(ctx, b, "tdx", fmt.Sprintf("input.claims.tdx_mrtd == \"%x\"", mrtd))
		r.named = key(ctx, b, "named", fmt.Sprintf("input.claims.tdx_mrtd == \"%x\"\n\tinput.evidence.tcb_status in {\"UpToDate\", \"OutOfDate\"}", mrtd))
		r.snpKey = key(ctx, b, "snp", `input.claims.snp.vmpl == 0`)
	})
	return r
}

// td collects evidence of a TD of this vendor.
func (r *vendorRig) td(t *testing.T, change func(*tdxsim.Platform)) func([]byte) (attest.Evidence, error) {
	t.Helper()
	p, err := tdxsim.New([32]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	p.Type = attest.TypeTDX
	if change != nil {
		change(p)
	}
	return p.Evidence
}

// guest collects evidence of an SNP guest, whose host gives no certificate with it when
// bare is set.
func (r *vendorRig) guest(t *testing.T, chip snpsim.Chip, bare bool) func([]byte) (attest.Evidence, error) {
	t.Helper()
	p, err := snpsim.New([32]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	p.Type, p.Chip = attest.TypeSNP, chip
	return func(runtime []byte) (attest.Evidence, error) {
		ev, err := p.Evidence(runtime)
		if bare {
			ev.Endorsements = nil
		}
		return ev, err
	}
}

// releases sends an attempt, which must succeed, and gives its record.
func (r *vendorRig) releases(t *testing.T, a *attempt) *receipt.Record {
	t.Helper()
	if err := r.send(t.Context(), a); err != nil || a.status != http.StatusOK {
		t.Fatalf("%v: %d %s", err, a.status, a.answer)
	}
	resp, _, err := a.open(&r.trust)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := resp.Receipt.Verify(r.trust.Log.Origin, r.trust.Log.VKeys[0])
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// metric gives a value of /metrics, "" when it is not there.
func (r *vendorRig) metric(t *testing.T, name string) string {
	t.Helper()
	c, err := (&app{credential: r.dir + ".admin.json"}).connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	if err := c.call(t.Context(), http.MethodGet, "/metrics", nil, &text); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// TestTEEVendor: hardware of a private cloud in a deployment that is no simulation, with
// collateral that the broker fetches.
func TestTEEVendor(t *testing.T) {
	r := newVendorRig(t)
	stolen := snpsim.Chip{Name: "stolen"}
	leaf, err := r.vendor.amd.Leaf(stolen)
	if err != nil {
		t.Fatal(err)
	}
	r.vendor.amd.Revoked = append(r.vendor.amd.Revoked, leaf.SerialNumber)
	r.start(servedBroker{})
	defer func() { _ = r.stop(syscall.SIGTERM) }()

	for name, a := range map[string]func() *attempt{
		"tdx": func() *attempt { return r.attempt(t, r.tdxKey, r.td(t, nil)) },
		"snp": func() *attempt { return r.attempt(t, r.snpKey, r.guest(t, snpsim.Chip{}, true)) },
	} {
		if rec := r.releases(t, a()); rec.Simulation || rec.Evidence.Type != name {
			t.Errorf("%s: recorded as %+v", name, rec)
		}
		before := r.vendor.answers.Load()
		r.releases(t, a())
		if n := r.vendor.answers.Load() - before; before == 0 || n != 0 {
			t.Errorf("%s: the vendor was asked %d times before the second release and %d times for it", name, before, n)
		}
	}
	t.Run("out of date", func(t *testing.T) {
		old := r.td(t, func(p *tdxsim.Platform) { p.TD.TCBSVN[2]-- })
		d := r.decision(t, r.refusedAs(t, r.attempt(t, r.tdxKey, old), release.ReasonTCBNotNamed))
		if d.Record == nil || d.Record.Decision != receipt.Deny {
			t.Errorf("recorded as %+v", d.Record)
		}
		r.releases(t, r.attempt(t, r.named, old))
	})
	t.Run("revoked", func(t *testing.T) {
		r.refusedAs(t, r.attempt(t, r.snpKey, r.guest(t, stolen, false)), release.Reason(attest.CheckCertRevoked))
	})
	t.Run("simulated", func(t *testing.T) {
		for typ, reason := range map[attest.Type]attest.Check{
			attest.TypeSNP.Simulated(): attest.CheckTypeUnsupported, attest.TypeTDX.Simulated(): attest.CheckTypeUnsupported,
			attest.TypeNitro.Simulated(): attest.CheckTypeUnsupported, attest.TypeAzureCVM.Simulated(): attest.CheckTypeUnsupported,
			attest.TypeSNP: attest.CheckMalformed,
		} {
			body := fmt.Appendf(nil, `{"type":%q,"no such member":[[[]]]}`, typ) // whoever parses it finds it malformed
			a := r.attempt(t, r.snpKey, func(runtime []byte) (attest.Evidence, error) {
				return attest.Evidence{Body: json.RawMessage(body), RuntimeData: runtime}, nil
			})
			r.refusedAs(t, a, release.Reason(reason))
		}
	})
}

// TestTEEVendorDown: a vendor that does not answer is no verdict about a machine.
func TestTEEVendorDown(t *testing.T) {
	r := newVendorRig(t)
	r.vendor.down.Store(true)
	r.start(servedBroker{})
	defer func() { _ = r.stop(syscall.SIGTERM) }()
	for _, a := range []*attempt{r.attempt(t, r.tdxKey, r.td(t, nil)), r.attempt(t, r.snpKey, r.guest(t, snpsim.Chip{}, true))} {
		d := r.decision(t, r.refusedAs(t, a, release.Reason(attest.CheckCollateralUnavailable)))
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%d, Retry-After %q", a.status, a.header.Get("Retry-After"))
		}
		if d.Record != nil || d.Stranger == nil {
			t.Errorf("recorded as a denial of the machine: %+v", d.Record)
		}
	}
	for _, name := range []string{
		`openskr_collateral_total{kind="intel-tcb",outcome="unavailable"}`, `openskr_collateral_total{kind="amd-vcek",outcome="unavailable"}`,
	} {
		if v := r.metric(t, name); v == "" || v == "0" {
			t.Errorf("%s is %q", name, v)
		}
	}
}
