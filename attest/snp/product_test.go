package snp_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/google/go-sev-guest/verify/trust"

	"github.com/openskr/openskr/attest/snp"
)

// TestAMDRoots compares the roots in this package with the fingerprints that stand in
// its source, and with what go-sev-guest ships.
func TestAMDRoots(t *testing.T) {
	products, err := snp.AMD()
	if err != nil || len(products) != 3 {
		t.Fatal(products, err)
	}
	for i, c := range []struct{ name, ark, ask, asvk string }{
		{snp.Milan, "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd", "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b", "c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5"},
		{snp.Genoa, "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1", "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521", "197e610743a917d6b9bb982a5a9226ccc0a15b611be0619e626aca9151457372"},
		{snp.Turin, "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a", "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185", "104e10a8bd060a3c20a434261a57d0588fd65a88915b4f65b08bdecaf8df1a3c"},
	} {
		p := products[i]
		for want, der := range map[string][]byte{c.ark: p.ARK.Raw, c.ask: p.ASK.Raw, c.asvk: p.ASVK.Raw} {
			if got := sha256.Sum256(der); p.Name != c.name || hex.EncodeToString(got[:]) != want {
				t.Errorf("%s: %x, want %s", p.Name, got, want)
			}
		}
		root, err := trust.GetDefaultRootCerts(c.name)
		if err != nil || !root.ProductCerts.Ark.Equal(p.ARK) || !root.ProductCerts.Ask.Equal(p.ASK) {
			t.Errorf("%s: go-sev-guest has another root (%v)", c.name, err)
		}
	}
	if got := amd(t).Anchors(); len(got) != 3 || !bytes.Equal(got[2], products[2].ARK.Raw) {
		t.Errorf("%d anchors", len(got))
	}
}

func TestParseProducts(t *testing.T) {
	p, q := platform(t, 1).Products(), platform(t, 2).Products()
	milan := toPEM(p[0].ASVK.Raw, p[0].ASK.Raw, p[0].ARK.Raw)
	for name, c := range map[string]struct {
		files [][]byte
		ok    bool
	}{
		"one":                    {[][]byte{milan}, true},
		"two":                    {[][]byte{milan, toPEM(p[2].ARK.Raw, p[2].ASK.Raw)}, true},
		"without ARK":            {[][]byte{toPEM(p[0].ASK.Raw)}, false},
		"without ASK":            {[][]byte{toPEM(p[0].ARK.Raw, p[0].ASVK.Raw)}, false},
		"ASK of another product": {[][]byte{toPEM(p[0].ARK.Raw, p[1].ASK.Raw)}, false},
		"ASK of another root":    {[][]byte{toPEM(p[0].ARK.Raw, q[0].ASK.Raw)}, false},
		"ARK twice":              {[][]byte{slices.Concat(milan, toPEM(p[0].ARK.Raw))}, false},
		"text behind":            {[][]byte{append(slices.Clone(milan), 'x')}, false},
		"DER":                    {[][]byte{p[0].ARK.Raw}, false},
		"empty":                  {[][]byte{{}}, false},
	} {
		products, err := snp.ParseProducts(c.files...)
		if (err == nil) != c.ok || c.ok && len(products) != len(c.files) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := p[0]
	broken.ASK = q[0].ASK
	if _, err := snp.New(snp.Config{Products: []snp.Product{broken}}); err == nil {
		t.Error("a verifier takes an ASK of another root")
	}
	broken = p[0]
	broken.Name = "Rome"
	if _, err := snp.New(snp.Config{Products: []snp.Product{broken}}); err == nil {
		t.Error("a verifier takes a product that it has no layout of")
	}
}

// TestPrivateRootBesideAMD: roots that an operator adds do not displace AMD's.
func TestPrivateRootBesideAMD(t *testing.T) {
	products, err := snp.AMD()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := snp.New(snp.Config{Products: append(products, platform(t, 1).Products()...)}); err != nil {
		t.Error(err)
	}
}
