package dcap_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/attest/sgx"
	"github.com/openskr/openskr/attest/tdx"
	"github.com/openskr/openskr/attest/tdx/format"
)

// documents is an Endorser in memory.
type documents map[attest.Need]*attest.Document

func (d documents) Endorse(_ context.Context, need attest.Need) (*attest.Document, error) {
	if doc, ok := d[need]; ok {
		return doc, nil
	}
	return nil, errors.New("not here")
}

// vector reads a file of real evidence.
func vector(t testing.TB, name string) []byte {
	t.Helper()
	dir := os.Getenv("OPENSKR_VECTORS")
	if dir == "" {
		t.Skip("OPENSKR_VECTORS is not set")
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// phala reads collateral in the JSON of dcap-qvl (QuoteCollateralV3).
func phala(t testing.TB, name string, tee, fmspc, ca string) documents {
	t.Helper()
	var c map[string]string
	if err := json.Unmarshal(vector(t, name), &c); err != nil {
		t.Fatal(err)
	}
	der := func(k string) []byte {
		b, err := hex.DecodeString(c[k])
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return documents{
		{Kind: attest.NeedIntelTCB, ID: tee + "/" + fmspc}: {
			Data: fmt.Appendf(nil, `{"tcbInfo":%s,"signature":"%s"}`, c["tcb_info"], c["tcb_info_signature"]), Chain: []byte(c["tcb_info_issuer_chain"]),
		},
		{Kind: attest.NeedIntelQE, ID: tee}: {
			Data: fmt.Appendf(nil, `{"enclaveIdentity":%s,"signature":"%s"}`, c["qe_identity"], c["qe_identity_signature"]), Chain: []byte(c["qe_identity_issuer_chain"]),
		},
		{Kind: attest.NeedIntelPCKCRL, ID: ca}: {Data: der("pck_crl"), Chain: []byte(c["pck_crl_issuer_chain"])},
		{Kind: attest.NeedIntelRootCRL}:        {Data: der("root_ca_crl")},
	}
}

func lunal(t testing.TB) documents {
	t.Helper()
	file := func(name string) []byte { return vector(t, "tdx-10-lunal-live/"+name) }
	return documents{
		{Kind: attest.NeedIntelTCB, ID: "tdx/50806f000000"}: {Data: file("tcb_info_50806f000000.json"), Chain: file("tcb_signing_chain.pem")},
		{Kind: attest.NeedIntelTCB, ID: "tdx/90c06f000000"}: {Data: file("tcb_info_90c06f000000.json"), Chain: file("tcb_signing_chain.pem")},
		{Kind: attest.NeedIntelQE, ID: "tdx"}:               {Data: file("td_qe_identity.json"), Chain: file("qe_identity_signing_chain.pem")},
		{Kind: attest.NeedIntelPCKCRL, ID: "platform"}:      {Data: file("pck_crl_platform.der")},
		{Kind: attest.NeedIntelRootCRL}:                     {Data: file("root_ca_crl.der")},
	}
}

func day(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.DateOnly, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// verify sends a quote through the verifier of its TEE.
func verify(t testing.TB, typ attest.Type, quote, log []byte, e attest.Endorser, at time.Time) (*attest.Result, *attest.Rejection) {
	t.Helper()
	var v attest.Verifier
	var err error
	if typ == attest.TypeSGX {
		v, err = sgx.New(sgx.Config{Endorser: e})
	} else {
		v, err = tdx.New(tdx.Config{Endorser: e})
	}
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(format.Evidence{Type: typ, Quote: quote, EventLog: log})
	if err != nil {
		t.Fatal(err)
	}
	res, err := v.Verify(t.Context(), attest.Evidence{Type: typ, Body: body}, attest.Expect{At: at, Unbound: true})
	rej, _ := errors.AsType[*attest.Rejection](err)
	if (rej == nil) != (res != nil) {
		t.Fatalf("%v, %v", res, err)
	}
	return res, rej
}

// TestVectors verifies real quotes at their clock.
func TestVectors(t *testing.T) {
	vector(t, "tdx-06-phala/quote.bin")
	real06 := phala(t, "tdx-06-phala/collateral.json", "tdx", "b0c06f000000", "platform")
	outdated := phala(t, "tdx-07-phala-outdated/collateral.json", "tdx", "90c06f000000", "platform")
	sgx02 := phala(t, "sgx-02-phala/collateral.json", "sgx", "00a067110000", "processor")
	for name, c := range map[string]struct {
		quote, log string
		trim       bool
		endorser   attest.Endorser
		at         string
		check      attest.Check // "" when the quote verifies
		tcb        string
		claims     map[string]any // some of those expected
	}{
		"tdx-01": {
			quote: "tdx-01-spr-gotdxguest/quote.bin", trim: true, at: "2026-11-21", tcb: "unknown",
			claims: map[string]any{"fmspc": "50806f000000", "tdx_td_attributes_protection_keys": true},
		},
		"tdx-01 with the text behind it": {quote: "tdx-01-spr-gotdxguest/quote.bin", at: "2026-11-21", check: attest.CheckMalformed},
		"tdx-02": {
			quote: "tdx-02-gce-cos113/quote.bin", log: "tdx-02-gce-cos113/ccel_data.bin", at: "2026-11-21", tcb: "unknown",
			claims: map[string]any{"fmspc": "00806f050000", "tdx_report_data": strings.Repeat("0", 128), "eventlog": map[string]any{"present": true, "complete": true, "unexplained": []any{}}},
		},
		"tdx-03, debug": {quote: "tdx-03-trustee-tdx_quote_4/quote.bin", at: "2026-11-21", check: attest.CheckDebug},
		"tdx-04": {
			quote: "tdx-04-trustee-tdx_quote_5/quote.bin", at: "2026-11-21", tcb: "unknown",
			claims: map[string]any{"fmspc": "90c06f000000", "version": int64(5)},
		},
		"tdx-06":                    {quote: "tdx-06-phala/quote.bin", at: "2025-06-20", endorser: real06, tcb: "UpToDate", claims: map[string]any{"fmspc": "b0c06f000000", "attester_tcb_status": "UpToDate"}},
		"tdx-06, late":              {quote: "tdx-06-phala/quote.bin", at: "2026-11-21", endorser: real06, check: attest.CheckCollateralStale},
		"tdx-06, early":             {quote: "tdx-06-phala/quote.bin", at: "2025-06-18", endorser: real06, check: attest.CheckCollateralInvalid},
		"tdx-06 without collateral": {quote: "tdx-06-phala/quote.bin", at: "2025-06-20", endorser: documents{}, check: attest.CheckCollateralUnavailable},
		// Its SEAM loader (component 8) has SVN 3; every level of its TCB info wants 5.
		"tdx-07":             {quote: "tdx-07-phala-outdated/quote.bin", at: "2026-02-19", endorser: outdated, check: attest.CheckTCBUnknown},
		"tdx-07, signatures": {quote: "tdx-07-phala-outdated/quote.bin", at: "2026-02-19", tcb: "unknown", claims: map[string]any{"tee_tcb_svn": "07010300000000000000000000000000", "tee_tcb_svn2": "0d010300000000000000000000000000"}},
		"tdx-10":             {quote: "tdx-10-lunal-live/quote.bin", log: "tdx-10-lunal-live/ccel_live2.bin", at: "2026-04-01", tcb: "unknown", claims: map[string]any{"fmspc": "b0c06f000000"}},
		"tdx-10, log of another boot": {
			quote: "tdx-10-lunal-live/quote.bin", log: "tdx-10-lunal-live/ccel_live.bin", at: "2026-04-01", check: attest.CheckEventLogReplay,
		},
		"tdx-10, before its PCK":                     {quote: "tdx-10-lunal-live/quote.bin", at: "2026-03-18", check: attest.CheckChainExpired},
		"tdx-10, collateral of other platforms only": {quote: "tdx-10-lunal-live/quote.bin", at: "2026-04-01", endorser: lunal(t), check: attest.CheckCollateralUnavailable},
		"azure-06":      {quote: "azure-06-tdx-trustee-v1/td-quote.bin", at: "2026-11-21", tcb: "unknown", claims: map[string]any{"fmspc": "00806f050000"}},
		"sgx-01, debug": {quote: "sgx-01-occlum/quote.bin", at: "2026-11-21", check: attest.CheckDebug},
		"sgx-02": {
			quote: "sgx-02-phala/quote.bin", at: "2025-06-20", endorser: sgx02, tcb: "ConfigurationAndSWHardeningNeeded",
			claims: map[string]any{"fmspc": "00a067110000", "x-ms-sgx-mrenclave": "33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb", "x-ms-sgx-is-debuggable": false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			quote, typ := vector(t, c.quote), attest.TypeTDX
			if strings.HasPrefix(c.quote, "sgx") {
				typ = attest.TypeSGX
			}
			if c.trim {
				quote = dcap.TrimQuote(quote)
			}
			var log []byte
			if c.log != "" {
				log = format.TrimCCEL(vector(t, c.log))
			}
			res, rej := verify(t, typ, quote, log, c.endorser, day(t, c.at))
			if c.check != "" {
				if rej == nil || rej.Check != c.check {
					t.Fatalf("%v, want %s", rej, c.check)
				}
				return
			}
			if rej != nil {
				t.Fatal(rej)
			}
			if checked := res.Facts.Revocation == attest.Checked; res.Facts.TCBStatus != c.tcb || checked != (c.endorser != nil) || !res.Facts.Chain || !res.Facts.Signature {
				t.Errorf("facts %+v", res.Facts)
			}
			native, _ := res.Claims[string(typ)].(map[string]any)
			for name, want := range c.claims {
				got, ok := res.Claims[name]
				if !ok {
					got = native[name]
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("claim %s is %v, want %v", name, got, want)
				}
			}
		})
	}
}
