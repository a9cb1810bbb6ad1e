package snp_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/snp"
	"github.com/openskr/openskr/attest/snp/simulated"
)

// listed gives der as every revocation list.
func listed(der []byte) endorse {
	return func(n attest.Need) (*attest.Document, error) {
		if n.Kind != attest.NeedAMDCRL {
			return nil, errors.New("not asked for")
		}
		return &attest.Document{Data: der}, nil
	}
}

func list(tb testing.TB, p *simulated.Platform, id string, at time.Time) []byte {
	tb.Helper()
	der, err := p.CRL(id, at)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// foreignList is signed by a stranger in the name of p's Milan root.
func foreignList(tb testing.TB, p *simulated.Platform, tmpl *x509.RevocationList) []byte {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	issuer := *p.Products()[0].ARK
	issuer.PublicKey = &key.PublicKey
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, &issuer, key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// TestRevocation is CC-05.
func TestRevocation(t *testing.T) {
	p := platform(t, 1)
	ark, ask, asvk := p.Products()[0].ARK.SerialNumber, p.Products()[0].ASK.SerialNumber, p.Products()[0].ASVK.SerialNumber
	leaf := func(c simulated.Chip) *big.Int {
		cert, err := p.Leaf(c)
		if err != nil {
			t.Fatal(err)
		}
		return cert.SerialNumber
	}
	vlek := simulated.Chip{VLEK: true}
	for name, c := range map[string]struct {
		chip    simulated.Chip
		revoked *big.Int
		check   attest.Check
	}{
		"nothing":      {revoked: big.NewInt(7)},
		"ASK":          {revoked: ask, check: attest.CheckCertRevoked},
		"VCEK":         {revoked: leaf(simulated.Chip{}), check: attest.CheckCertRevoked},
		"another VCEK": {revoked: leaf(simulated.Chip{Name: "other"})},
		"ASVK":         {chip: vlek, revoked: asvk, check: attest.CheckCertRevoked},
		"VLEK":         {chip: vlek, revoked: leaf(vlek), check: attest.CheckCertRevoked},
		"ASK, of VLEK": {chip: vlek, revoked: ask},
		"ARK, which is pinned and revoked by an update": {revoked: ark},
	} {
		q := *p
		q.Revoked = []*big.Int{big.NewInt(99), c.revoked}
		res, err := verifier(t, &q).Verify(t.Context(), evidence(t, p, c.chip), attest.Expect{At: now})
		if checkOf(err) != c.check || err == nil != (c.check == "") {
			t.Errorf("%s: %v, want check %q", name, err, c.check)
		}
		if err == nil && res.Facts.Revocation != attest.Checked {
			t.Errorf("%s: revocation %s", name, res.Facts.Revocation)
		}
	}
}

func TestRevocationListItself(t *testing.T) {
	p := platform(t, 1)
	base := x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(time.Hour)}
	delta := base
	delta.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
	sound := list(t, p, "vcek/Milan", now)
	flipped := append([]byte(nil), sound...)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		from  attest.Endorser
		check attest.Check
	}{
		"sound":                  {listed(sound), ""},
		"unavailable":            {endorse(func(attest.Need) (*attest.Document, error) { return nil, errors.New("offline") }), attest.CheckCollateralUnavailable},
		"forged":                 {listed(foreignList(t, p, &base)), attest.CheckCollateralInvalid},
		"changed":                {listed(flipped), attest.CheckCollateralInvalid},
		"of another product":     {listed(list(t, p, "vcek/Genoa", now)), attest.CheckCollateralInvalid},
		"of another simulation":  {listed(list(t, platform(t, 2), "vcek/Milan", now)), attest.CheckCollateralInvalid},
		"of changes only":        {listed(foreignList(t, p, &delta)), attest.CheckCollateralInvalid},
		"garbage":                {listed([]byte("x")), attest.CheckCollateralInvalid},
		"too large":              {listed(make([]byte, 2<<20)), attest.CheckCollateralInvalid},
		"a certificate":          {listed(p.Products()[0].ARK.Raw), attest.CheckCollateralInvalid},
		"due an hour ago":        {listed(list(t, p, "vcek/Milan", now.Add(-721*time.Hour))), attest.CheckCollateralStale},
		"due in an hour":         {listed(list(t, p, "vcek/Milan", now.Add(-719*time.Hour))), ""},
		"issued after appraisal": {listed(list(t, p, "vcek/Milan", now.Add(time.Hour))), ""},
	} {
		v := verifier(t, p, func(cfg *snp.Config) { cfg.Endorser = c.from })
		for range 2 { // the second time from the cache
			_, err := v.Verify(t.Context(), evidence(t, p, simulated.Chip{}), attest.Expect{At: now})
			if checkOf(err) != c.check || err == nil != (c.check == "") {
				t.Errorf("%s: %v, want check %q", name, err, c.check)
			}
		}
	}
}

// TestListEndsInCache: a list that was verified once does not outlive its next update.
func TestListEndsInCache(t *testing.T) {
	p := platform(t, 1)
	sound := list(t, p, "vcek/Milan", now)
	v := verifier(t, p, func(cfg *snp.Config) { cfg.Endorser = listed(sound) })
	for _, c := range []struct {
		at    time.Time
		check attest.Check
	}{{now, ""}, {now.Add(721 * time.Hour), attest.CheckCollateralStale}, {now, ""}} {
		if _, err := v.Verify(t.Context(), evidence(t, p, simulated.Chip{}), attest.Expect{At: c.at}); checkOf(err) != c.check {
			t.Errorf("%s: %v", c.at, err)
		}
	}
}

func TestInspect(t *testing.T) {
	p := platform(t, 1)
	alone := verifier(t, p)
	beside := verifier(t, p, func(cfg *snp.Config) { cfg.Products = append(cfg.Products, platform(t, 2).Products()...) })
	crl := attest.Need{Kind: attest.NeedAMDCRL, ID: "vlek/Milan"}
	sound := list(t, p, "vlek/Milan", now)
	var asked attest.Need
	asking := verifier(t, p, func(cfg *snp.Config) {
		cfg.Endorser = endorse(func(n attest.Need) (*attest.Document, error) { asked = n; return nil, errors.New("offline") })
	})
	ev := evidence(t, p, simulated.Chip{})
	vcekDER := ev.Endorsements[0].Data
	ev.Endorsements = nil
	if _, err := asking.Verify(t.Context(), ev, attest.Expect{At: now}); err == nil {
		t.Fatal("no leaf and accepted")
	}
	for name, c := range map[string]struct {
		need  attest.Need
		data  []byte
		at    time.Time
		check attest.Check
		valid attest.Validity
	}{
		"list":                 {crl, sound, now, "", attest.Validity{Issued: now, NextUpdate: now.Add(720 * time.Hour), Number: now.Unix()}},
		"list past its update": {crl, sound, now.Add(721 * time.Hour), attest.CheckCollateralStale, attest.Validity{}},
		"list of no product":   {attest.Need{Kind: attest.NeedAMDCRL, ID: "vcek/Rome"}, sound, now, attest.CheckCollateralInvalid, attest.Validity{}},
		"list of no kind":      {attest.Need{Kind: attest.NeedAMDCRL, ID: "xcek/Milan"}, sound, now, attest.CheckCollateralInvalid, attest.Validity{}},
		"list of another":      {attest.Need{Kind: attest.NeedAMDCRL, ID: "vcek/Turin"}, sound, now, attest.CheckCollateralInvalid, attest.Validity{}},
		"certificate":          {asked, vcekDER, now, "", attest.Validity{Issued: simulated.From, NextUpdate: simulated.To}},
		"another certificate":  {asked, chipLeaf(t, p, simulated.Chip{Name: "other"}), now, attest.CheckCollateralInvalid, attest.Validity{}},
		"VLEK":                 {asked, chipLeaf(t, p, simulated.Chip{VLEK: true}), now, attest.CheckCollateralInvalid, attest.Validity{}},
		"foreign certificate":  {asked, impostor(t, p, p.Products()[0].ASK.Raw), now, attest.CheckChainUntrusted, attest.Validity{}},
		"another kind":         {attest.Need{Kind: attest.NeedIntelTCB}, sound, now, attest.CheckCollateralInvalid, attest.Validity{}},
	} {
		for _, v := range []*snp.Verifier{alone, beside} { // a private root beside AMD's changes nothing
			val, err := v.Inspect(c.need, &attest.Document{Data: c.data}, c.at)
			if checkOf(err) != c.check || err == nil != (c.check == "") {
				t.Errorf("%s: %v, want check %q", name, err, c.check)
			}
			if !val.Issued.Equal(c.valid.Issued) || !val.NextUpdate.Equal(c.valid.NextUpdate) || val.Number != c.valid.Number {
				t.Errorf("%s: %+v", name, val)
			}
		}
	}
}
