package snp_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/snp/format"
	"github.com/openskr/openskr/attest/snp/simulated"
)

func certificates(ders ...[]byte) []attest.Endorsement {
	var out []attest.Endorsement
	for _, d := range ders {
		out = append(out, attest.Endorsement{Type: attest.EndorsementCertificate, Data: d})
	}
	return out
}

func toPEM(ders ...[]byte) (out []byte) {
	for _, d := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d})...)
	}
	return out
}

func chipLeaf(tb testing.TB, p *simulated.Platform, c simulated.Chip) []byte {
	tb.Helper()
	cert, err := p.Leaf(c)
	if err != nil {
		tb.Fatal(err)
	}
	return cert.Raw
}

// TestLeafSources gives the leaf in every way that hosts and operators do.
// It is CC-01, CC-02 and CC-18.
func TestLeafSources(t *testing.T) {
	p := platform(t, 1)
	ev := evidence(t, p, simulated.Chip{})
	vcek, ask, ark := ev.Endorsements[0].Data, p.Products()[0].ASK.Raw, p.Products()[0].ARK.Raw
	other, updated := chipLeaf(t, p, simulated.Chip{Name: "other"}), chipLeaf(t, p, simulated.Chip{TCB: &[8]byte{9, 9, 0, 0, 0, 0, 9, 9}})
	vlek := chipLeaf(t, p, simulated.Chip{VLEK: true})
	tableOf := func(cert []byte) []attest.Endorsement {
		return []attest.Endorsement{{Type: attest.EndorsementCertificateTable, Data: table(vcekGUID, cert)}}
	}
	page := func(b []byte) []byte { return append(b, make([]byte, 4096-len(b)%4096)...) }
	padded := tableOf(vcek)
	padded[0].Data = page(padded[0].Data)
	overfull := certificates()
	for range 9 {
		overfull = append(overfull, certificates(vcek)...)
	}
	offline := verifier(t, p, func(c *snp.Config) { c.Endorser = nil })
	for name, c := range map[string]struct {
		ends  []attest.Endorsement
		check attest.Check
	}{
		"DER":                              {certificates(vcek), ""},
		"PEM":                              {certificates(toPEM(vcek)), ""},
		"DER bundle, leaf last":            {certificates(slices.Concat(ark, ask, vcek)), ""},
		"PEM bundle, leaf in the middle":   {certificates(toPEM(ark, vcek, ask)), ""},
		"one endorsement each":             {certificates(ark, ask, toPEM(vcek)), ""},
		"among leaves of others":           {certificates(other, vlek, updated, vcek), ""},
		"table":                            {tableOf(vcek), ""},
		"table of PEM":                     {tableOf(toPEM(vcek)), ""},
		"table filled up to its page":      {padded, ""},
		"the roots only":                   {certificates(ark, ask), attest.CheckChainUntrusted},
		"nothing":                          {nil, attest.CheckChainUntrusted},
		"leaf of another chip":             {certificates(other), attest.CheckChipMismatch},
		"leaf of another TCB":              {certificates(updated), attest.CheckTCBMismatch},
		"VLEK":                             {certificates(vlek), attest.CheckChainUntrusted},
		"twice":                            {certificates(slices.Concat(vcek, vcek)), attest.CheckChainUntrusted},
		"text before DER":                  {certificates(append([]byte("x"), vcek...)), attest.CheckChainUntrusted},
		"text behind PEM":                  {certificates(append(toPEM(vcek), 'x')), attest.CheckChainUntrusted},
		"PEM of a key":                     {certificates(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: vcek})), attest.CheckChainUntrusted},
		"empty":                            {certificates([]byte{}), attest.CheckChainUntrusted},
		"too large":                        {certificates(make([]byte, 64<<10+1)), attest.CheckChainUntrusted},
		"too many endorsements":            {overfull, attest.CheckChainUntrusted},
		"of another kind":                  {[]attest.Endorsement{{Type: attest.EndorsementAKCertificate, Data: vcek}}, attest.CheckChainUntrusted},
		"table under an unknown GUID":      {[]attest.Endorsement{{Type: attest.EndorsementCertificateTable, Data: table([16]byte{1}, vcek)}}, attest.CheckChainUntrusted},
		"table with bytes behind":          {[]attest.Endorsement{{Type: attest.EndorsementCertificateTable, Data: append(table(vcekGUID, vcek), 0)}}, attest.CheckChainUntrusted},
		"certificate said to be a table":   {[]attest.Endorsement{{Type: attest.EndorsementCertificateTable, Data: vcek}}, attest.CheckChainUntrusted},
		"table said to be a certificate":   {certificates(table(vcekGUID, vcek)), attest.CheckChainUntrusted},
		"a hundred certificates":           {certificates(slices.Repeat(ask, 100)), attest.CheckChainUntrusted},
		"seventeen different certificates": {certificates(slices.Concat(many(t, 17)...)), attest.CheckChainUntrusted},
		"self-made chain with AMD's names": {certificates(chipLeaf(t, platform(t, 9), simulated.Chip{})), attest.CheckChainUntrusted},
		"self-made leaf of the same chip":  {certificates(impostor(t, p, ask)), attest.CheckChainUntrusted},
		"self-made leaf with its own root": {certificates(impostor(t, p, ask), impostorRoot(t)), attest.CheckChainUntrusted},
	} {
		e := ev
		e.Endorsements = c.ends
		if _, err := offline.Verify(t.Context(), e, attest.Expect{At: now}); checkOf(err) != c.check || err == nil != (c.check == "") {
			t.Errorf("%s: %v, want check %q", name, err, c.check)
		}
	}
}

// many makes n certificates of no use.
func many(tb testing.TB, n int) (out [][]byte) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range n {
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(int64(i)), Subject: pkix.Name{CommonName: "SEV-Milan"}, IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, der)
	}
	return out
}

func impostorRoot(tb testing.TB) []byte {
	tb.Helper()
	return many(tb, 1)[0]
}

// impostor is a leaf that says everything right and that nobody trusted signed.
func impostor(tb testing.TB, p *simulated.Platform, issuer []byte) []byte {
	tb.Helper()
	genuine, err := p.Leaf(simulated.Chip{})
	if err != nil {
		tb.Fatal(err)
	}
	parent, err := x509.ParseCertificate(issuer)
	if err != nil {
		tb.Fatal(err)
	}
	key := strangerKey(tb)
	parent.PublicKey = &key.PublicKey // CreateCertificate compares them
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: genuine.Subject, NotBefore: genuine.NotBefore, NotAfter: genuine.NotAfter,
		ExtraExtensions: genuine.Extensions,
	}
	tmpl.ExtraExtensions = slices.DeleteFunc(slices.Clone(tmpl.ExtraExtensions), func(e pkix.Extension) bool { return len(e.Id) < 9 })
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, genuine.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// endorse is an Endorser made of a function.
type endorse func(attest.Need) (*attest.Document, error)

func (f endorse) Endorse(_ context.Context, n attest.Need) (*attest.Document, error) { return f(n) }

// TestFetch: a leaf that is left out is asked for, by chip and reported TCB.
func TestFetch(t *testing.T) {
	p := platform(t, 1)
	good := p.Endorser()
	answer := func(vcek *attest.Document, err error) endorse {
		return func(n attest.Need) (*attest.Document, error) {
			if n.Kind == attest.NeedAMDVCEK {
				return vcek, err
			}
			return good.Endorse(t.Context(), n)
		}
	}
	ev := evidence(t, p, simulated.Chip{})
	ev.Endorsements = nil
	for name, c := range map[string]struct {
		from  attest.Endorser
		chip  simulated.Chip
		check attest.Check
	}{
		"given":                   {from: good},
		"unavailable":             {from: answer(nil, errors.New("503")), check: attest.CheckCollateralUnavailable},
		"of another chip":         {from: answer(&attest.Document{Data: chipLeaf(t, p, simulated.Chip{Name: "other"})}, nil), check: attest.CheckCollateralInvalid},
		"of another TCB":          {from: answer(&attest.Document{Data: chipLeaf(t, p, simulated.Chip{TCB: &[8]byte{9}})}, nil), check: attest.CheckCollateralInvalid},
		"signed by somebody else": {from: answer(&attest.Document{Data: impostor(t, p, p.Products()[0].ASK.Raw)}, nil), check: attest.CheckCollateralInvalid},
		"garbage":                 {from: answer(&attest.Document{Data: []byte("<html>")}, nil), check: attest.CheckCollateralInvalid},
		"too large":               {from: answer(&attest.Document{Data: make([]byte, 9<<10)}, nil), check: attest.CheckCollateralInvalid},
		"version 2":               {from: good, chip: simulated.Chip{Version: 2}, check: attest.CheckChainUntrusted},
		"VLEK":                    {from: good, chip: simulated.Chip{VLEK: true}, check: attest.CheckChainUntrusted},
	} {
		e := evidence(t, p, c.chip)
		e.Endorsements = nil
		v := verifier(t, p, func(cfg *snp.Config) { cfg.Endorser = c.from })
		if _, err := v.Verify(t.Context(), e, attest.Expect{At: now}); checkOf(err) != c.check || err == nil != (c.check == "") {
			t.Errorf("%s: %v, want check %q", name, err, c.check)
		}
	}
}

// TestNeedNames pins what the Key Distribution Service is asked for.
func TestNeedNames(t *testing.T) {
	p := platform(t, 1)
	for product, want := range map[string]string{
		snp.Milan: "blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219",
		snp.Turin: "fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81",
	} {
		var asked []attest.Need
		v := verifier(t, p, func(cfg *snp.Config) {
			cfg.Endorser = endorse(func(n attest.Need) (*attest.Document, error) {
				asked = append(asked, n)
				return nil, errors.New("offline")
			})
		})
		ev := evidence(t, p, simulated.Chip{Product: product})
		ev.Endorsements = nil
		_, err := v.Verify(t.Context(), ev, attest.Expect{At: now})
		if checkOf(err) != attest.CheckCollateralUnavailable || len(asked) != 1 || asked[0].Kind != attest.NeedAMDVCEK {
			t.Fatalf("%v, asked %v", err, asked)
		}
		head, query := product+"/", "?"+want
		hwid := asked[0].ID[len(head) : len(asked[0].ID)-len(query)]
		if asked[0].ID != head+hwid+query || len(hwid) != map[string]int{snp.Milan: 128, snp.Turin: 16}[product] {
			t.Errorf("asked for %s", asked[0].ID)
		}
	}
}

// TestNewerIssuer: an ASK that the pinned root signed later is taken from the bundle.
func TestNewerIssuer(t *testing.T) {
	p := platform(t, 1)
	ev := evidence(t, p, simulated.Chip{})
	products := p.Products()
	newer := products[0].ASK
	older, err := x509.ParseCertificate(p.Products()[0].ASVK.Raw) // of the same root, and not the leaf's issuer
	if err != nil {
		t.Fatal(err)
	}
	older.RawSubject, older.Subject = newer.RawSubject, newer.Subject
	products[0].ASK = older
	v := verifier(t, p, func(c *snp.Config) { c.Products, c.Endorser = products, nil })
	if _, err := v.Verify(t.Context(), ev, attest.Expect{At: now}); checkOf(err) != attest.CheckChainUntrusted {
		t.Errorf("without the newer ASK: %v", err)
	}
	ev.Endorsements = append(ev.Endorsements, certificates(newer.Raw)...)
	if _, err := v.Verify(t.Context(), ev, attest.Expect{At: now}); err != nil {
		t.Errorf("with it: %v", err)
	}
	// An ASK that a stranger made, with the right names, and a leaf below it.
	ev.Endorsements = certificates(impostor(t, p, newer.Raw), strangersASK(t, p))
	if _, err := v.Verify(t.Context(), ev, attest.Expect{At: now}); checkOf(err) != attest.CheckChainUntrusted {
		t.Errorf("an ASK that the root did not sign: %v", err)
	}
}

// strangerKey signs for whoever forges a chain.
func strangerKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P384(), append(make([]byte, 47), 7))
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// strangersASK says that p's root issued it.
func strangersASK(tb testing.TB, p *simulated.Platform) []byte {
	tb.Helper()
	key, ark, ask := strangerKey(tb), *p.Products()[0].ARK, p.Products()[0].ASK
	ark.PublicKey = &key.PublicKey // CreateCertificate compares them
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: ask.Subject, NotBefore: ask.NotBefore, NotAfter: ask.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, &ark, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// TestDenied is CC-23 and TP-18 of the verifier.
func TestDenied(t *testing.T) {
	p := platform(t, 1)
	for _, c := range []struct{ claim, product string }{{"chip_id", snp.Milan}, {"product", snp.Genoa}, {"chip_id", snp.Turin}, {"short", snp.Turin}} {
		chip := simulated.Chip{Product: c.product}
		ev := evidence(t, p, chip)
		res, err := verifier(t, p).Verify(t.Context(), ev, attest.Expect{At: now})
		if err != nil {
			t.Fatal(err)
		}
		id, _ := claim(res.Claims, "snp."+c.claim).(string)
		if c.claim == "short" {
			id = claim(res.Claims, "snp.chip_id").(string)[:16]
		}
		v := verifier(t, p, func(cfg *snp.Config) { cfg.Denied = func(s string) bool { return s == id } })
		_, err = v.Verify(t.Context(), ev, attest.Expect{At: now})
		var r *attest.Rejection
		if !errors.As(err, &r) || r.Check != attest.CheckPlatformDenied || r.Identity == nil || *r.Identity != res.Identity {
			t.Errorf("%+v: %v", c, err)
		}
		if _, err := v.Verify(t.Context(), evidence(t, p, simulated.Chip{Name: "other"}), attest.Expect{At: now}); err != nil {
			t.Errorf("%+v: another chip is denied: %v", c, err)
		}
	}
	v := verifier(t, p, func(cfg *snp.Config) { cfg.Denied = func(s string) bool { return s == simulated.CSP } })
	if _, err := v.Verify(t.Context(), evidence(t, p, simulated.Chip{VLEK: true}), attest.Expect{At: now}); checkOf(err) != attest.CheckPlatformDenied {
		t.Errorf("VLEK: %v", err)
	}
}

// TestAppraise gives composites everything but the binding.
func TestAppraise(t *testing.T) {
	p := platform(t, 1)
	v := verifier(t, p)
	ends := evidence(t, p, simulated.Chip{}).Endorsements
	for name, c := range map[string]struct {
		report func([]byte)
		check  attest.Check
		data   bool
	}{
		"sound":        {nil, "", true},
		"level 2":      {put(0x30, 2), "", true},
		"debug":        {setBits(8, 1<<19), attest.CheckDebug, true},
		"of no chip":   {put(0x1a0, 1), attest.CheckChipMismatch, false},
		"of the host":  {put(0x30, 0xff, 0xff, 0xff, 0xff), attest.CheckVMPL, true},
		"short report": {put(0, 9), attest.CheckMalformed, false},
	} {
		raw, err := p.Report([64]byte{1, 2, 3}, simulated.Chip{Report: c.report})
		if err != nil {
			t.Fatal(err)
		}
		res, data, rej := v.Appraise(t.Context(), raw, ends, now)
		if (rej == nil) != (c.check == "") || rej != nil && (rej.Check != c.check || rej.Identity != nil) || (res == nil) != (rej != nil) {
			t.Errorf("%s: %v", name, rej)
		}
		if c.data != (len(data) == 64 && data[2] == 3) {
			t.Errorf("%s: report data %x", name, data)
		}
		if res != nil && (res.Facts.Bound || res.Facts.Freshness != "" || res.Recipient != nil) {
			t.Errorf("%s: claims a binding: %+v", name, res.Facts)
		}
	}
}

func TestTypes(t *testing.T) {
	p := platform(t, 1)
	for _, typ := range []attest.Type{attest.TypeTDX, "SNP", "simulated-tdx", "none"} {
		if _, err := snp.New(snp.Config{Type: typ, Products: p.Products()}); err == nil {
			t.Errorf("verifier for %s", typ)
		}
	}
	sim := platform(t, 1)
	sim.Type = attest.TypeSNP.Simulated()
	ev := evidence(t, sim, simulated.Chip{})
	res, err := verifier(t, sim).Verify(t.Context(), ev, attest.Expect{At: now})
	if err != nil || res.Type != sim.Type || res.Identity.Kind != string(sim.Type) {
		t.Errorf("%+v, %v", res, err)
	}
	ev.Type = attest.TypeSNP // a simulation's body under AMD's name
	if _, err := verifier(t, p).Verify(t.Context(), ev, attest.Expect{At: now}); checkOf(err) != attest.CheckTypeNotAllowed {
		t.Error(err)
	}
	body, err := json.Marshal(format.Evidence{Type: attest.TypeSNP, Report: make([]byte, 5000)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verifier(t, p).Verify(t.Context(), attest.Evidence{Type: attest.TypeSNP, Body: body, RuntimeData: runtimeData}, attest.Expect{At: now}); checkOf(err) != attest.CheckMalformed {
		t.Error(err)
	}
	if _, err := snp.New(snp.Config{Products: []snp.Product{}}); err == nil {
		t.Error("a verifier that trusts nothing")
	}
}

func TestTimeOfChain(t *testing.T) {
	p := platform(t, 1)
	v := verifier(t, p)
	ev := evidence(t, p, simulated.Chip{})
	for _, at := range []time.Time{now, simulated.From.Add(-time.Second), simulated.To.Add(time.Second), now} {
		_, err := v.Verify(t.Context(), ev, attest.Expect{At: at})
		if at.Equal(now) != (err == nil) || err != nil && checkOf(err) != attest.CheckChainExpired {
			t.Errorf("%s, with the leaf in the cache: %v", at, err)
		}
	}
}
