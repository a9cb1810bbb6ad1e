package dcap_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tdx-guest/pcs"
	library "github.com/google/go-tdx-guest/testing"
	"github.com/google/go-tdx-guest/testing/testdata"
	"github.com/google/go-tdx-guest/validate"
	libverify "github.com/google/go-tdx-guest/verify"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/attest/tdx"
	"github.com/openskr/openskr/attest/tdx/simulated"
)

// getter gives the documents as Intel's service would, for go-tdx-guest.
func getter(docs documents) *library.Getter {
	escape := func(chain []byte) []string {
		return []string{strings.ReplaceAll(url.QueryEscape(string(chain)), "+", "%20")}
	}
	g := &library.Getter{Responses: map[string]library.HTTPResponse{}}
	for need, doc := range docs {
		switch need.Kind {
		case attest.NeedIntelTCB:
			if fmspc, ok := strings.CutPrefix(need.ID, "tdx/"); ok {
				g.Responses[pcs.TcbInfoURL(fmspc)] = library.HTTPResponse{Header: map[string][]string{pcs.TcbInfoIssuerChainPhrase: escape(doc.Chain)}, Body: doc.Data}
			}
		case attest.NeedIntelQE:
			if need.ID == "tdx" {
				g.Responses[pcs.QeIdentityURL()] = library.HTTPResponse{Header: map[string][]string{pcs.SgxQeIdentityIssuerChainPhrase: escape(doc.Chain)}, Body: doc.Data}
			}
		case attest.NeedIntelPCKCRL:
			g.Responses[pcs.PckCrlURL(need.ID)] = library.HTTPResponse{Header: map[string][]string{pcs.SgxPckCrlIssuerChainPhrase: escape(doc.Chain)}, Body: doc.Data}
		case attest.NeedIntelRootCRL:
			g.Responses["https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"] = library.HTTPResponse{Body: doc.Data}
		}
	}
	return g
}

func all5(at time.Time) *libverify.TimeSet {
	return &libverify.TimeSet{PckCertChain: at, TcbInfo: at, QeIdentity: at, PckCrl: at, RootCaCrl: at}
}

// theirs is what go-tdx-guest says, with everything it can check turned on.
func theirs(p *simulated.Platform, docs documents, raw []byte, now *libverify.TimeSet) error {
	pool := x509.NewCertPool()
	for _, root := range p.Roots() {
		pool.AddCert(root)
	}
	return libverify.RawTdxQuote(raw, &libverify.Options{TrustedRoots: pool, GetCollateral: true, CheckRevocations: true, Getter: getter(docs), Now: now})
}

// TestLibraryHoles has the cases that go-tdx-guest ffb0869e6f4d accepts, or cannot
// read, beside our answer. When the library's answer changes, so may its comment.
func TestLibraryHoles(t *testing.T) {
	td := func(turn func(p *simulated.Platform)) (*simulated.Platform, documents, []byte) {
		p := platform(t, 1, turn)
		return p, all(t, p), tdQuote(t, p)
	}
	ours := func(p *simulated.Platform, docs documents, raw []byte) (*attest.Result, *attest.Rejection) {
		v, err := tdx.New(tdx.Config{Roots: p.Roots(), Endorser: docs})
		if err != nil {
			t.Fatal(err)
		}
		res, _, rej := v.Appraise(t.Context(), raw, nil, at())
		return res, rej
	}
	t.Run("sound evidence", func(t *testing.T) {
		p, docs, raw := td(nil)
		if err := theirs(p, docs, raw, all5(at())); err != nil {
			t.Error("library:", err)
		}
		if _, rej := ours(p, docs, raw); rej != nil {
			t.Error(rej)
		}
	})
	t.Run("a: platform out of date under a module that is up to date", func(t *testing.T) {
		p, docs, raw := td(func(p *simulated.Platform) { p.Collateral.Platform = "OutOfDate" })
		if err := theirs(p, docs, raw, all5(at())); err != nil {
			t.Error("the library refuses it: say so here:", err)
		}
		if res, rej := ours(p, docs, raw); rej != nil || res.Facts.TCBStatus != "OutOfDate" {
			t.Errorf("%+v, %v", res, rej)
		}
	})
	t.Run("a: platform revoked under a module that is up to date", func(t *testing.T) {
		p, docs, raw := td(func(p *simulated.Platform) { p.Collateral.Platform = "Revoked" })
		if err := theirs(p, docs, raw, all5(at())); err != nil {
			t.Error("the library refuses it: say so here:", err)
		}
		if _, rej := ours(p, docs, raw); rej == nil || rej.Check != attest.CheckTCBRevoked {
			t.Error(rej)
		}
	})
	t.Run("b: debug", func(t *testing.T) {
		p, docs, raw := td(func(p *simulated.Platform) { p.TD.Attributes |= 1 })
		if err := theirs(p, docs, raw, all5(at())); err != nil {
			t.Error("the library refuses it: say so here:", err)
		}
		if err := validate.RawTdxQuote(raw, &validate.Options{}); err != nil {
			t.Error("the library refuses it: say so here:", err)
		}
		if _, rej := ours(p, docs, raw); rej == nil || rej.Check != attest.CheckDebug {
			t.Error(rej)
		}
	})
	t.Run("c: version 5, and status by policy", func(t *testing.T) {
		p, docs, raw := td(func(p *simulated.Platform) { p.TD.Version, p.Collateral.Platform = 5, "SWHardeningNeeded" })
		if theirs(p, docs, raw, all5(at())) == nil {
			t.Error("the library reads version 5: say so here")
		}
		if res, rej := ours(p, docs, raw); rej != nil || res.Facts.TCBStatus != "SWHardeningNeeded" {
			t.Errorf("%+v, %v", res, rej)
		}
	})
	t.Run("d: another quoting enclave, without collateral", func(t *testing.T) {
		p, _, raw := td(nil)
		v, err := tdx.New(tdx.Config{Roots: p.Roots()})
		if err != nil {
			t.Fatal(err)
		}
		res, _, rej := v.Appraise(t.Context(), raw, nil, at())
		if rej != nil || res.Facts.TCBStatus != attest.TCBUnknown || res.Facts.Revocation != attest.NotChecked {
			t.Errorf("unchecked, and not said so: %+v, %v", res, rej)
		}
		p, docs, raw := td(func(p *simulated.Platform) { p.Collateral.QESigner = strings.Repeat("ab", 32) })
		if _, rej := ours(p, docs, raw); rej == nil || rej.Check != attest.CheckQEIdentity {
			t.Error(rej)
		}
	})
	t.Run("e: one set of options for many quotes", func(t *testing.T) { // nothing of a call is left for the next
		p, docs, raw := td(nil)
		v, err := tdx.New(tdx.Config{Roots: p.Roots(), Endorser: docs})
		if err != nil {
			t.Fatal(err)
		}
		other := tdQuote(t, platform(t, 2, nil))
		for range 2 {
			if _, _, rej := v.Appraise(t.Context(), raw, nil, at()); rej != nil {
				t.Error(rej)
			}
			if _, _, rej := v.Appraise(t.Context(), other, nil, at()); rej == nil || rej.Check != attest.CheckChainUntrusted {
				t.Error(rej)
			}
		}
	})
	t.Run("f: collateral that ended, at an unset time", func(t *testing.T) {
		p, docs, raw := td(issued(-400 * 24 * time.Hour))
		if err := theirs(p, docs, raw, &libverify.TimeSet{PckCertChain: at()}); err != nil {
			t.Error("the library refuses it: say so here:", err)
		}
		if _, rej := ours(p, docs, raw); rej == nil || rej.Check != attest.CheckCollateralStale {
			t.Error(rej)
		}
	})
	t.Run("g: collateral from the future", func(t *testing.T) {
		p, docs, raw := td(issued(24 * time.Hour))
		if err := theirs(p, docs, raw, all5(at())); err != nil {
			t.Error("the library refuses it: say so here:", err)
		}
		if _, rej := ours(p, docs, raw); rej == nil || rej.Check != attest.CheckCollateralInvalid {
			t.Error(rej)
		}
	})
}

// TestDifferential flips bits of quotes: what we accept, go-tdx-guest must not refuse.
func TestDifferential(t *testing.T) {
	p := platform(t, 1, nil)
	real := dcap.TrimQuote(testdata.RawQuote)
	forged := tdQuote(t, p)
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		raw    []byte
		ours   *dcap.Evaluator
		theirs func(raw []byte) error
	}{
		"real": {real, evaluator(t, dcap.Config{}), func(raw []byte) error { return libverify.RawTdxQuote(raw, &libverify.Options{Now: all5(now)}) }},
		"simulated": {forged, evaluator(t, dcap.Config{Roots: p.Roots(), Endorser: all(t, p)}), func(raw []byte) error {
			return theirs(p, all(t, p), raw, all5(at()))
		}},
	} {
		at := now
		if name == "simulated" {
			at = at.Add(12 * time.Hour)
		}
		if _, rej := evaluate(t, c.ours, c.raw, at); rej != nil || c.theirs(c.raw) != nil {
			t.Fatalf("%s: %v, library %v", name, rej, c.theirs(c.raw))
		}
		accepted := 0
		for i := range c.raw {
			b := bytes.Clone(c.raw)
			b[i] ^= 1 << (i % 8)
			if _, rej := evaluate(t, c.ours, b, at); rej == nil {
				accepted++
				if err := c.theirs(b); err != nil {
					t.Errorf("%s: bit %d of byte %d flipped: accepted, library: %v", name, i%8, i, err)
				}
			}
		}
		if accepted > 0 {
			t.Errorf("%s: %d changed quotes accepted", name, accepted)
		}
	}
}

// TestLibraryCollateral: the collateral that go-tdx-guest ships for its quote. The
// platform is below every level, and the library says the same.
func TestLibraryCollateral(t *testing.T) {
	docs := documents{
		{Kind: attest.NeedIntelTCB, ID: "tdx/50806f000000"}: response(t, pcs.TcbInfoURL("50806f000000"), pcs.TcbInfoIssuerChainPhrase),
		{Kind: attest.NeedIntelQE, ID: "tdx"}:               response(t, pcs.QeIdentityURL(), pcs.SgxQeIdentityIssuerChainPhrase),
		{Kind: attest.NeedIntelPCKCRL, ID: "platform"}:      response(t, pcs.PckCrlURL("platform"), pcs.SgxPckCrlIssuerChainPhrase),
		{Kind: attest.NeedIntelRootCRL}:                     {Data: testdata.RootCrlBody},
	}
	e := evaluator(t, dcap.Config{Endorser: docs})
	raw := dcap.TrimQuote(testdata.RawQuote)
	then := time.Date(2023, 7, 1, 1, 0, 0, 0, time.UTC)
	for at, check := range map[time.Time]attest.Check{then: attest.CheckTCBUnknown, then.AddDate(3, 0, 0): attest.CheckCollateralStale} {
		if _, rej := evaluate(t, e, raw, at); rej == nil || rej.Check != check {
			t.Errorf("%s: %v", at, rej)
		}
	}
	for need, doc := range docs {
		v, err := e.Inspect(need, doc, then)
		if err != nil || v.Issued.After(then) || v.NextUpdate.Before(then) {
			t.Errorf("%v: %+v, %v", need, v, err)
		}
	}
}

// response is an answer of Intel's service that go-tdx-guest ships.
func response(t *testing.T, address, header string) *attest.Document {
	t.Helper()
	h, body, err := library.TestGetter.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := url.QueryUnescape(fmt.Sprint(h[header][0]))
	if err != nil {
		t.Fatal(err)
	}
	return &attest.Document{Data: body, Chain: []byte(chain)}
}
