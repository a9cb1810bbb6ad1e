package azurecvm_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/azurecvm"
	"github.com/openskr/openskr/attest/azurecvm/format"
)

// authority certifies AKs: a root, and one intermediate below it.
type authority struct {
	root, intermediate *x509.Certificate
	key                *ecdsa.PrivateKey // of the intermediate
}

// newAuthority makes one; change may spoil the intermediate.
func newAuthority(t testing.TB, change ...func(*x509.Certificate)) *authority {
	t.Helper()
	a := &authority{}
	var key *ecdsa.PrivateKey
	a.root, key = caBelow(t, "vTPM root", nil, nil)
	a.intermediate, a.key = caBelow(t, "vTPM CA", a.root, key, change...)
	return a
}

func caBelow(t testing.TB, name string, parent *x509.Certificate, by *ecdsa.PrivateKey, change ...func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if parent == nil {
		parent, by = tmpl, key
	}
	for _, f := range change {
		f(tmpl)
	}
	return issue(t, tmpl, parent, key.Public(), by), key
}

func issue(t testing.TB, tmpl, parent *x509.Certificate, key any, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key, by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// certify is the AK certificate of a key as Azure makes them.
func (a *authority) certify(t testing.TB, key any, change ...func(*x509.Certificate)) []byte {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "f859864a6a31.TrustedVM.Azure.windows.net"},
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Minute), KeyUsage: x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 311, 10, 3, 12}, {2, 23, 133, 8, 3}},
	}
	for _, f := range change {
		f(tmpl)
	}
	return issue(t, tmpl, a.intermediate, key, a.key).Raw
}

func (a *authority) config() azurecvm.Config {
	c := both()
	c.AKRoots = []*x509.Certificate{a.root}
	return c
}

func akEndorsement(der []byte) attest.Endorsement {
	return attest.Endorsement{Type: attest.EndorsementAKCertificate, Data: der}
}

func endorsement(certs ...*x509.Certificate) attest.Endorsement {
	var b []byte
	for _, c := range certs {
		b = append(b, c.Raw...)
	}
	return attest.Endorsement{Type: attest.EndorsementCertificate, Data: b}
}

// TestAKCertificate: the claims say who certified the AK, on either hardware; without a
// certificate there are none.
func TestAKCertificate(t *testing.T) {
	a := newAuthority(t)
	root := sha256.Sum256(a.root.Raw)
	want := map[string]any{
		"root": hex.EncodeToString(root[:]), "authority": "CN=vTPM root", "issuer": "CN=vTPM CA",
		"subject": "CN=f859864a6a31.TrustedVM.Azure.windows.net",
	}
	for name, kind := range map[string]uint32{"snp": format.HCLSNP, "tdx": format.HCLTDX} {
		m := newVM(t, 0, kind)
		ev := m.evidence(t, m.body(t))
		v := verifier(t, a.config())
		for _, ends := range [][]attest.Endorsement{nil, {akEndorsement(a.certify(t, m.AKKey.Public())), endorsement(a.intermediate)}} {
			ev.Endorsements = ends
			res, err := v.Verify(t.Context(), ev, attest.Expect{At: now})
			if err != nil {
				t.Fatal(err)
			}
			got, ok := res.Claims["azure"].(map[string]any)["ak_certificate"]
			if res.Authority != name || ok != (ends != nil) || ok && !reflect.DeepEqual(got, want) {
				t.Errorf("%s, %d endorsements: authority %s, claims %v", name, len(ends), res.Authority, got)
			}
		}
	}
}

// TestAKCertificateRefused: an AK certificate that does not hold refuses evidence that
// would be sound without it.
func TestAKCertificateRefused(t *testing.T) {
	a := newAuthority(t)
	m := newVM(t, 0, format.HCLSNP)
	key := m.AKKey.Public()
	notCA := newAuthority(t, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
	impostor := newAuthority(t) // of the same names
	with := func(f func(*x509.Certificate)) []attest.Endorsement {
		return []attest.Endorsement{akEndorsement(a.certify(t, key, f)), endorsement(a.intermediate)}
	}
	good := akEndorsement(a.certify(t, key))
	long := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, 9<<10)}}
	}
	var many []*x509.Certificate
	for range 9 {
		many = append(many, newAuthority(t).root)
	}
	for name, c := range map[string]struct {
		root *x509.Certificate
		ends []attest.Endorsement
		want attest.Check
	}{
		"of another AK":           {a.root, []attest.Endorsement{akEndorsement(a.certify(t, newVM(t, 1, format.HCLSNP).AKKey.Public())), endorsement(a.intermediate)}, attest.CheckNotLinked},
		"expired":                 {a.root, with(func(x *x509.Certificate) { x.NotAfter = now.Add(-time.Second) }), attest.CheckChainExpired},
		"not yet valid":           {a.root, with(func(x *x509.Certificate) { x.NotBefore = now.Add(time.Second) }), attest.CheckChainExpired},
		"of another purpose":      {a.root, with(func(x *x509.Certificate) { x.UnknownExtKeyUsage = nil }), attest.CheckAKNotTrusted},
		"of a CA":                 {a.root, with(func(x *x509.Certificate) { x.IsCA, x.BasicConstraintsValid = true, true }), attest.CheckAKNotTrusted},
		"longer than any":         {a.root, with(long), attest.CheckMalformed},
		"root of the same name":   {a.root, []attest.Endorsement{akEndorsement(impostor.certify(t, key)), endorsement(impostor.intermediate, impostor.root)}, attest.CheckChainUntrusted},
		"no intermediate":         {a.root, []attest.Endorsement{good}, attest.CheckChainUntrusted},
		"intermediate without CA": {notCA.root, []attest.Endorsement{akEndorsement(notCA.certify(t, key)), endorsement(notCA.intermediate)}, attest.CheckChainUntrusted},
		"under Microsoft's roots": {nil, []attest.Endorsement{good, endorsement(a.intermediate, a.root)}, attest.CheckChainUntrusted},
		"two of them":             {a.root, []attest.Endorsement{good, good, endorsement(a.intermediate)}, attest.CheckMalformed},
		"empty":                   {a.root, []attest.Endorsement{akEndorsement(nil)}, attest.CheckMalformed},
		"no certificate":          {a.root, []attest.Endorsement{akEndorsement([]byte{0x30, 0})}, attest.CheckChainUntrusted},
		"nine certificates":       {a.root, []attest.Endorsement{good, endorsement(many...)}, attest.CheckMalformed},
		"nine endorsements":       {a.root, append([]attest.Endorsement{good}, make([]attest.Endorsement, 8)...), attest.CheckMalformed},
		"one twice":               {a.root, []attest.Endorsement{good, endorsement(a.intermediate, a.intermediate)}, attest.CheckMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := both()
			if c.root != nil {
				cfg.AKRoots = []*x509.Certificate{c.root}
			}
			ev := m.evidence(t, m.body(t))
			ev.Endorsements = c.ends
			_, err := verifier(t, cfg).Verify(t.Context(), ev, attest.Expect{At: now})
			if r := wantCheck(t, err, c.want); r.Identity != nil {
				t.Errorf("names %v, whose AK has signed nothing yet", r.Identity)
			}
		})
	}
}

// TestAKCertificateIsJudgedAgain: one that was verified and kept is refused for another
// AK, and after its time.
func TestAKCertificateIsJudgedAgain(t *testing.T) {
	a := newAuthority(t)
	v := verifier(t, a.config())
	m, other := newVM(t, 0, format.HCLSNP), newVM(t, 1, format.HCLSNP)
	ends := []attest.Endorsement{akEndorsement(a.certify(t, m.AKKey.Public())), endorsement(a.intermediate)}
	ev, evil := m.evidence(t, m.body(t)), other.evidence(t, other.body(t))
	ev.Endorsements, evil.Endorsements = ends, ends
	if _, err := v.Verify(t.Context(), ev, attest.Expect{At: now}); err != nil {
		t.Fatal(err)
	}
	_, err := v.Verify(t.Context(), evil, attest.Expect{At: now})
	wantCheck(t, err, attest.CheckNotLinked)
	_, err = v.Verify(t.Context(), ev, attest.Expect{At: now.Add(2 * time.Minute)})
	wantCheck(t, err, attest.CheckChainExpired)
}

// listening is a processor that remembers what it was given.
type listening struct {
	processor
	ends *[]attest.Endorsement
}

func (l listening) Appraise(ctx context.Context, raw []byte, ends []attest.Endorsement, at time.Time) (*attest.Result, []byte, *attest.Rejection) {
	*l.ends = ends
	return l.processor.Appraise(ctx, raw, ends, at)
}

// TestAKCertificateIsNotTheHardwares: the processor's verifier gets what is its own,
// and what is the processor's does the AK's chain no harm.
func TestAKCertificateIsNotTheHardwares(t *testing.T) {
	a := newAuthority(t)
	var got []attest.Endorsement
	cfg := a.config()
	cfg.SNP = listening{sound("snp"), &got}
	m := newVM(t, 0, format.HCLSNP)
	ev := m.evidence(t, m.body(t))
	vcek := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: newAuthority(t).root.Raw})
	table := attest.Endorsement{Type: attest.EndorsementCertificateTable, Data: []byte("table")}
	hardware := []attest.Endorsement{{Type: attest.EndorsementCertificate, Data: append(vcek, '\n', 0)}, table}
	ev.Endorsements = slices.Concat([]attest.Endorsement{akEndorsement(a.certify(t, m.AKKey.Public()))}, hardware, []attest.Endorsement{endorsement(a.intermediate)})
	if _, err := verifier(t, cfg).Verify(t.Context(), ev, attest.Expect{At: now}); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, append(hardware, endorsement(a.intermediate))) {
		t.Errorf("the processor's verifier got %d endorsements", len(got))
	}
}

// TestAKAnchors: Microsoft's root is trusted by default, in the place of a private one
// not, and never by a simulation.
func TestAKAnchors(t *testing.T) {
	microsoft, below, err := format.Microsoft()
	if err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t)
	simulation := both()
	simulation.Type = attest.TypeAzureCVM.Simulated()
	for name, c := range map[string]struct {
		cfg  azurecvm.Config
		want []*x509.Certificate
	}{"default": {both(), microsoft}, "private": {a.config(), []*x509.Certificate{a.root}}, "simulation": {simulation, nil}} {
		got := verifier(t, c.cfg).Anchors()[2:] // behind the hardware's
		if !slices.EqualFunc(got, c.want, func(der []byte, r *x509.Certificate) bool { return bytes.Equal(der, r.Raw) }) {
			t.Errorf("%s: %d anchors of AKs", name, len(got))
		}
		if slices.ContainsFunc(got, func(der []byte) bool { return bytes.Equal(der, below[0].Raw) }) {
			t.Errorf("%s: an intermediate is an anchor", name)
		}
	}
}
