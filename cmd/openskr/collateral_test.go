package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openskr/openskr/attest"
	snpsim "github.com/openskr/openskr/attest/snp/simulated"
	tdxsim "github.com/openskr/openskr/attest/tdx/simulated"
)

// publisher is AMD and Intel of simulated hardware. Below /forged a byte of every
// document is another, below /older everything was issued ten days before, below
// /ended two months.
type publisher struct {
	*httptest.Server
	snp *snpsim.Platform
	tdx *tdxsim.Platform
}

func newPublisher(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{}
	var err error
	if p.snp, err = snpsim.New([32]byte{1}); err != nil {
		t.Fatal(err)
	}
	if p.tdx, err = tdxsim.New([32]byte{2}); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", p.at(0, false))
	mux.Handle("/forged/", http.StripPrefix("/forged", p.at(0, true)))
	mux.Handle("/older/", http.StripPrefix("/older", p.at(10*24*time.Hour, false)))
	mux.Handle("/ended/", http.StripPrefix("/ended", p.at(60*24*time.Hour, false)))
	p.Server = httptest.NewTLSServer(mux)
	return p
}

// at serves what was published some time ago.
func (p *publisher) at(ago time.Duration, forged bool) http.Handler {
	then := func() time.Time { return time.Now().Add(-ago) }
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		amd, intel := *p.snp, *p.tdx
		amd.Now, intel.Now = then, then
		need := needOf(r.URL)
		ask := amd.Endorser()
		if strings.HasPrefix(string(need.Kind), "intel") {
			ask = &intel
		}
		doc, err := ask.Endorse(r.Context(), need)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		for _, h := range []string{"TCB-Info-Issuer-Chain", "SGX-Enclave-Identity-Issuer-Chain", "SGX-PCK-CRL-Issuer-Chain"} {
			w.Header().Set(h, url.PathEscape(string(doc.Chain)))
		}
		body := bytes.Clone(doc.Data)
		if forged {
			body[len(body)-5] ^= 1
		}
		_, _ = w.Write(body)
	})
}

// needOf reads a URL of AMD's or Intel's services.
func needOf(u *url.URL) attest.Need {
	part := strings.Split(strings.TrimPrefix(u.Path, "/"), "/")
	last := part[len(part)-1]
	switch {
	case last == "crl" && len(part) == 4:
		return attest.Need{Kind: attest.NeedAMDCRL, ID: part[0] + "/" + part[2]}
	case part[0] == "vcek" && len(part) == 4:
		return attest.Need{Kind: attest.NeedAMDVCEK, ID: part[2] + "/" + last + "?" + u.RawQuery}
	case last == "tcb":
		return attest.Need{Kind: attest.NeedIntelTCB, ID: part[0] + "/" + u.Query().Get("fmspc")}
	case last == "identity":
		return attest.Need{Kind: attest.NeedIntelQE, ID: part[0]}
	case last == "pckcrl":
		return attest.Need{Kind: attest.NeedIntelPCKCRL, ID: u.Query().Get("ca")}
	case last == "rootcacrl":
		return attest.Need{Kind: attest.NeedIntelRootCRL}
	}
	return attest.Need{}
}

// write makes evidence, roots and a configuration that trusts them.
func (p *publisher) write(dir string) error {
	report, err := p.snp.Report([64]byte{1}, p.snp.Chip)
	if err != nil {
		return err
	}
	quote, err := p.tdx.Quote([64]byte{1})
	if err != nil {
		return err
	}
	milan := p.snp.Products()[0]
	config := "hosts: [localhost:1]\nsnp_roots: [" + filepath.Join(dir, "milan.pem") + "]\nintel_roots: [" + filepath.Join(dir, "intel.pem") + "]\n"
	for name, b := range map[string][]byte{
		"report.bin": report, "quote.bin": quote, "roots.yaml": []byte(config),
		"milan.pem": certPEM(milan.ARK.Raw, milan.ASK.Raw, milan.ASVK.Raw), "intel.pem": certPEM(p.tdx.Roots()[0].Raw),
		"tls.pem": certPEM(p.Certificate().Raw),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func certPEM(ders ...[]byte) (out []byte) {
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

// TestCollateralScripts carries documents from authorities to a broker without network.
func TestCollateralScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/collateral",
		RequireExplicitExec: true,
		Condition: func(cond string) (bool, error) {
			if cond != "vectors" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			return os.Getenv("OPENSKR_VECTORS") != "", nil
		},
		Setup: func(e *testscript.Env) error {
			p := newPublisher(t)
			e.Defer(p.Close)
			e.Setenv("PUBLISHER", p.URL)
			e.Setenv("FMSPC", tdxsim.FMSPC())
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("SSL_CERT_FILE", filepath.Join(e.WorkDir, "tls.pem"))
			e.Setenv("VECTORS", os.Getenv("OPENSKR_VECTORS"))
			return p.write(e.WorkDir)
		},
	})
}
