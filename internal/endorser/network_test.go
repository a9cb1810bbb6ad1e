package endorser_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/endorser"
)

func TestAddresses(t *testing.T) {
	hwid := strings.Repeat("ab", 64)
	for _, c := range []struct {
		kind     attest.NeedKind
		id, want string
	}{
		{attest.NeedAMDVCEK, "Milan/" + hwid + "?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115", "kdsintf.amd.com/vcek/v1/Milan/" + hwid + "?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"},
		{attest.NeedAMDVCEK, "Turin/0123456789abcdef?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81", "kdsintf.amd.com/vcek/v1/Turin/0123456789abcdef?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81"},
		{attest.NeedAMDCRL, "vcek/Genoa", "kdsintf.amd.com/vcek/v1/Genoa/crl"},
		{attest.NeedAMDCRL, "vlek/Turin", "kdsintf.amd.com/vlek/v1/Turin/crl"},
		{attest.NeedIntelTCB, "tdx/90c06f000000", "api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=90c06f000000"},
		{attest.NeedIntelTCB, "sgx/00a067110000", "api.trustedservices.intel.com/sgx/certification/v4/tcb?fmspc=00a067110000"},
		{attest.NeedIntelQE, "tdx", "api.trustedservices.intel.com/tdx/certification/v4/qe/identity"},
		{attest.NeedIntelPCKCRL, "platform", "api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=der"},
		{attest.NeedIntelRootCRL, "", "certificates.trustedservices.intel.com/IntelSGXRootCA.der"},
	} {
		a := newAuthority(t, serve(document(1, time.Now(), month)))
		e, _ := build(t, a, endorser.Config{})
		mustEndorse(t, e, attest.Need{Kind: c.kind, ID: c.id})
		if got := a.asked(); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s %q: asked %q, want %q", c.kind, c.id, got, c.want)
		}
	}
}

// CC-14, CC-13: what Evidence can put into an ID leads nowhere else.
func TestNoOtherAddress(t *testing.T) {
	hwid := strings.Repeat("ab", 64)
	a := newAuthority(t, serve(document(1, time.Now(), month)))
	e, _ := build(t, a, endorser.Config{Issuers: map[string]string{"https://issuer.example": "https://issuer.example/keys"}})
	for _, n := range []attest.Need{
		{Kind: "", ID: ""},
		{Kind: "http://127.0.0.1/", ID: "x"},
		{Kind: attest.NeedAMDVCEK, ID: ""},
		{Kind: attest.NeedAMDVCEK, ID: "Milan/" + hwid},
		{Kind: attest.NeedAMDVCEK, ID: "Milan/" + strings.ToUpper(hwid) + "?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"},
		{Kind: attest.NeedAMDVCEK, ID: "Naples/" + hwid + "?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"},
		{Kind: attest.NeedAMDVCEK, ID: "Milan/" + hwid + "?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115&x=y"},
		{Kind: attest.NeedAMDVCEK, ID: "Milan/" + hwid + "?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115\n"},
		{Kind: attest.NeedAMDVCEK, ID: "Turin/" + hwid + "?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"},
		{Kind: attest.NeedAMDVCEK, ID: "../../" + hwid},
		{Kind: attest.NeedAMDCRL, ID: "vcek/../Milan"},
		{Kind: attest.NeedAMDCRL, ID: "vcek/Milan/../../x"},
		{Kind: attest.NeedAMDCRL, ID: "x/vcek/Milan"},
		{Kind: attest.NeedAMDCRL, ID: "//169.254.169.254/latest"},
		{Kind: attest.NeedIntelTCB, ID: "tdx/90C06F000000"},
		{Kind: attest.NeedIntelTCB, ID: "tdx/90c06f000000&update=early"},
		{Kind: attest.NeedIntelTCB, ID: "@127.0.0.1/90c06f000000"},
		{Kind: attest.NeedIntelQE, ID: "qve"},
		{Kind: attest.NeedIntelPCKCRL, ID: "platform#"},
		{Kind: attest.NeedIntelRootCRL, ID: "file:///etc/passwd"},
		{Kind: attest.NeedJWKS, ID: "https://other.example"},
		{Kind: attest.NeedJWKS, ID: "https://issuer.example/"},
		{Kind: attest.NeedJWKS, ID: strings.Repeat("x", 1<<20)},
	} {
		wantError(t, e, n, endorser.ErrNeed)
	}
	a.wantCalls(t, 0)
}

func TestConfiguredAddresses(t *testing.T) {
	for _, bad := range []string{"", "http://pccs.example", "file:///srv", "https://", "https://user:pw@pccs.example", "https://pccs.example?x=y", "https://pccs.example#f", "pccs.example:8081"} {
		for _, cfg := range []endorser.Config{{AMD: []string{bad}}, {Intel: []string{bad}}, {Issuers: map[string]string{"i": strings.ReplaceAll(bad, "?x=y", "#x")}}} {
			if _, err := endorser.New(cfg); err == nil {
				t.Errorf("accepted %q", bad)
			}
		}
	}
	a := newAuthority(t, serve([]byte(fmt.Sprintf("%x\n", document(1, time.Now(), month))))) // as a PCCS gives CRLs
	e, _ := build(t, a, endorser.Config{Intel: []string{"https://pccs.example:8081/intel/"}})
	mustEndorse(t, e, attest.Need{Kind: attest.NeedIntelRootCRL})
	if got := a.asked(); got[0] != "pccs.example:8081/intel/sgx/certification/v4/rootcacrl" {
		t.Errorf("asked %q", got)
	}
}

// CC-22: 429 is honoured, and no host is asked while it wants to be left alone.
func TestThrottledByAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, status(http.StatusTooManyRequests, "Retry-After", "600"))
		e, o := build(t, a, endorser.Config{})
		for range 20 {
			wantAnyError(t, e, crl)
			wantAnyError(t, e, attest.Need{Kind: attest.NeedAMDCRL, ID: "vlek/Milan"})
		}
		a.wantCalls(t, 1)
		o.want(t, endorser.OutcomeThrottled, 40)
		time.Sleep(599 * time.Second)
		wantAnyError(t, e, crl)
		a.wantCalls(t, 1)
		time.Sleep(time.Second)
		a.change(serve(document(1, time.Now(), month)))
		mustEndorse(t, e, crl)
		a.wantCalls(t, 2)
	})
}

func wantAnyError(t *testing.T, e *endorser.Endorser, need attest.Need) {
	t.Helper()
	if _, err := e.Endorse(t.Context(), need); err == nil {
		t.Fatalf("%v: got a document", need)
	}
}

func TestBackOffGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, status(http.StatusInternalServerError))
		e, _ := build(t, a, endorser.Config{})
		for end := time.Now().Add(time.Hour); time.Now().Before(end); time.Sleep(time.Second) {
			wantAnyError(t, e, crl)
		}
		// 0, 5, 15, 35, 75, 155, 315 s, then every five minutes.
		if n := len(a.asked()); n < 15 || n > 20 {
			t.Errorf("%d calls in an hour of failures", n)
		}
	})
}

// CC-22: one byte a second, for ever.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write([]byte{'{'}); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Second)
			}
		})
		e, o := build(t, a, endorser.Config{})
		start := time.Now()
		for range 4 { // as many documents as a quote needs
			wantAnyError(t, e, attest.Need{Kind: attest.NeedIntelQE, ID: "tdx"})
			wantAnyError(t, e, tcb)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("took %v, want at most 3 s for all", took)
		}
		a.wantCalls(t, 1)
		o.want(t, endorser.OutcomeError, 1)
		time.Sleep(time.Minute)
	})
}

// Odd chips that make the service fail cost nobody the revocation lists.
func TestChipsBlockNoList(t *testing.T) {
	good := document(1, time.Now(), month)
	a := newAuthority(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/crl") {
			_, _ = w.Write(good)
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	e, _ := build(t, a, endorser.Config{})
	wantError(t, e, chip(1), endorser.ErrAuthority)
	wantError(t, e, chip(2), endorser.ErrThrottled)
	mustEndorse(t, e, crl)
}

func TestHuge(t *testing.T) {
	a := newAuthority(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 64<<10)
		for { // until the client hangs up
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	e, _ := build(t, a, endorser.Config{MaxSize: 128 << 10})
	wantError(t, e, crl, endorser.ErrAuthority)
}

func TestMissingIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, status(http.StatusNotFound))
		e, o := build(t, a, endorser.Config{})
		for range 5 {
			wantError(t, e, chip(1), endorser.ErrUnknown)
		}
		a.wantCalls(t, 1)
		o.want(t, endorser.OutcomeUnavailable, 5)
		a.change(serve(document(1, time.Now(), month)))
		mustEndorse(t, e, chip(2)) // the host is well
		time.Sleep(11 * time.Minute)
		mustEndorse(t, e, chip(1))
	})
}

func TestMirrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := document(1, time.Now(), month)
		var broken atomic.Pointer[http.HandlerFunc]
		a := newAuthority(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "first.example" {
				(*broken.Load())(w, r)
				return
			}
			_, _ = w.Write(good)
		})
		for name, how := range map[string]http.HandlerFunc{
			"down": status(http.StatusBadGateway), "missing": status(http.StatusNotFound), "forged": serve([]byte(`{"good":false}`)),
			"hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		} {
			broken.Store(&how)
			e, _ := build(t, a, endorser.Config{AMD: []string{"https://first.example", "https://second.example"}})
			if _, err := e.Endorse(t.Context(), crl); err != nil {
				t.Errorf("first mirror %s: %v", name, err)
			}
		}
	})
}

// CC-15, and redirects: over real TLS.
func TestTransport(t *testing.T) {
	body := document(1, time.Now(), month)
	touched := false
	stranger := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { touched = true }))
	defer stranger.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/good/", serve(body))
	mux.HandleFunc("/away/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, stranger.URL+"/vcek/v1/Milan/crl", http.StatusFound)
	})
	mux.HandleFunc("/down/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+r.Host+"/good/", http.StatusFound)
	})
	mux.HandleFunc("/here/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/good/", http.StatusFound) })
	mux.HandleFunc("/loop/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop/", http.StatusFound) })
	srv := httptest.NewTLSServer(mux)
	defer srv.Close()
	known := x509.NewCertPool()
	known.AddCert(srv.Certificate())
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		base  string
		roots *x509.CertPool
		ok    bool
	}{
		"good":                     {srv.URL + "/good", known, true},
		"redirect on the host":     {srv.URL + "/here", known, true},
		"redirect to another host": {srv.URL + "/away", known, false},
		"redirect to plain HTTP":   {srv.URL + "/down", known, false},
		"redirect for ever":        {srv.URL + "/loop", known, false},
		"self-signed":              {srv.URL + "/good", nil, false},
		"wrong name":               {"https://localhost:" + port + "/good", known, false},
		"plain HTTP behind https":  {"https://" + plain(t), known, false},
	} {
		e, err := endorser.New(endorser.Config{AMD: []string{c.base}, Roots: c.roots, Inspect: inspect})
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.Endorse(t.Context(), crl)
		if c.ok && err != nil || !c.ok && !errors.Is(err, endorser.ErrAuthority) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if touched {
		t.Error("a host was reached that nobody configured")
	}
}

func plain(t *testing.T) string {
	srv := httptest.NewServer(serve(document(1, time.Now(), month)))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func TestChainHeaders(t *testing.T) {
	const want = "-----BEGIN CERTIFICATE-----\nMAA+\n-----END CERTIFICATE-----\n"
	for name, c := range map[string]struct {
		header, value string
		ok            bool
	}{
		"Intel":                {"TCB-Info-Issuer-Chain", "-----BEGIN%20CERTIFICATE-----%0AMAA%2B%0A-----END%20CERTIFICATE-----%0A", true},
		"plus not escaped":     {"TCB-Info-Issuer-Chain", "-----BEGIN%20CERTIFICATE-----%0AMAA+%0A-----END%20CERTIFICATE-----%0A", true},
		"plus for space":       {"TCB-Info-Issuer-Chain", "-----BEGIN+CERTIFICATE-----%0AMAA%2B%0A-----END+CERTIFICATE-----%0A", true},
		"version 3's name":     {"SGX-TCB-Info-Issuer-Chain", "-----BEGIN%20CERTIFICATE-----%0AMAA%2B%0A-----END%20CERTIFICATE-----", true},
		"blank lines":          {"TCB-Info-Issuer-Chain", "-----BEGIN%20CERTIFICATE-----%0AMAA%2B%0A-----END%20CERTIFICATE-----%0A%0A%0A", true},
		"none":                 {"X-Other", "x", false},
		"no PEM":               {"TCB-Info-Issuer-Chain", "x", false},
		"bad escape":           {"TCB-Info-Issuer-Chain", "%zz", false},
		"a key":                {"TCB-Info-Issuer-Chain", "-----BEGIN%20PRIVATE%20KEY-----%0AMAA%2B%0A-----END%20PRIVATE%20KEY-----%0A", false},
		"longer than any":      {"TCB-Info-Issuer-Chain", strings.Repeat("-----BEGIN%20CERTIFICATE-----%0AMAA%2B%0A-----END%20CERTIFICATE-----%0A", 6), false},
		"larger than a header": {"TCB-Info-Issuer-Chain", "-----BEGIN%20CERTIFICATE-----%0A" + strings.Repeat("MAA%2B%0A", 20000) + "-----END%20CERTIFICATE-----%0A", false},
	} {
		srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(c.header, c.value)
			_, _ = w.Write(document(1, time.Now(), month))
		}))
		known := x509.NewCertPool()
		known.AddCert(srv.Certificate())
		e, err := endorser.New(endorser.Config{Intel: []string{srv.URL}, Roots: known, Inspect: inspect})
		if err != nil {
			t.Fatal(err)
		}
		doc, err := e.Endorse(t.Context(), tcb)
		switch {
		case c.ok && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.ok && string(doc.Chain) != want:
			t.Errorf("%s: chain %q, want %q", name, doc.Chain, want)
		case !c.ok && !errors.Is(err, endorser.ErrAuthority):
			t.Errorf("%s: %v", name, err)
		}
		srv.Close()
	}
}
