package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
)

// revokes makes the CA's list.
func (a *ca) revokes(t testing.TB, change func(*x509.RevocationList), serials ...int64) []byte {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Unix(1_700_000_000, 0), NextUpdate: time.Unix(1_850_000_000, 0)}
	for _, n := range serials {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: l.ThisUpdate})
	}
	if change != nil {
		change(l)
	}
	issuer := *a.cert
	issuer.KeyUsage |= x509.KeyUsageCRLSign // of the list, whatever the CA may
	der, err := x509.CreateRevocationList(rand.Reader, l, &issuer, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// below makes a CA that a certifies.
func (a *ca) below(t *testing.T, serial int64) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "middle"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &ca{cert, key}
}

func TestRevoked(t *testing.T) {
	f, a := newFixture(t), newCA(t)
	id, err := url.Parse("spiffe://example/app")
	if err != nil {
		t.Fatal(err)
	}
	serial := func(n int64) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.SerialNumber, c.URIs = big.NewInt(n), []*url.URL{id} }
	}
	good, bad := a.issue(t, serial(2)), a.issue(t, serial(3))
	middle := a.below(t, 4)
	below := middle.issue(t, serial(3))
	f.p.Certificates = []Certificate{{SAN: "uri:spiffe://example/app"}}
	f.objects.put(t, f.p)
	stranger := newCA(t)
	now := time.Unix(1_800_000_000, 0)
	for name, c := range map[string]struct {
		lists [][]byte
		chain []*x509.Certificate
		want  string // of the error; "": proven
	}{
		"no lists":                {nil, []*x509.Certificate{bad}, ""},
		"not on the list":         {[][]byte{a.revokes(t, nil, 3)}, []*x509.Certificate{good}, ""},
		"on the list":             {[][]byte{a.revokes(t, nil, 1, 3)}, []*x509.Certificate{bad}, "revoked by its issuer"},
		"the list has ended":      {[][]byte{a.revokes(t, func(l *x509.RevocationList) { l.NextUpdate = now.Add(-time.Second) })}, []*x509.Certificate{good}, "next update was due"},
		"another's list":          {[][]byte{stranger.revokes(t, nil)}, []*x509.Certificate{good}, "verification failure"},
		"below a middle, no list": {[][]byte{a.revokes(t, nil)}, []*x509.Certificate{below, middle.cert}, "no revocation list of"},
		"below a middle":          {[][]byte{a.revokes(t, nil), middle.revokes(t, nil)}, []*x509.Certificate{below, middle.cert}, ""},
		"revoked by the middle":   {[][]byte{a.revokes(t, nil), middle.revokes(t, nil, 3)}, []*x509.Certificate{below, middle.cert}, "revoked by its issuer"},
		"the middle is revoked":   {[][]byte{a.revokes(t, nil, 4), middle.revokes(t, nil)}, []*x509.Certificate{below, middle.cert}, "revoked by its issuer"},
	} {
		f.now = now
		f.useLists(t, a, c.lists...)
		got, err := f.AuthenticateCertificate(t.Context(), c.chain)
		if c.want == "" && (err != nil || got.ID != f.p.ID) || c.want != "" && (got != nil || release.ReasonOf(err) != release.ReasonUnauthorized || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// A proof is remembered no longer than the list that allowed it.
	f.useLists(t, a, a.revokes(t, func(l *x509.RevocationList) { l.NextUpdate = f.now.Add(10 * time.Second) }))
	if _, err := f.AuthenticateCertificate(t.Context(), []*x509.Certificate{good}); err != nil {
		t.Error(err)
	}
	f.now = f.now.Add(11 * time.Second)
	if _, err := f.AuthenticateCertificate(t.Context(), []*x509.Certificate{good}); err == nil || release.ReasonOf(err) != release.ReasonUnauthorized {
		t.Errorf("after the list ended: %v", err)
	}
}

// useLists trusts a with these lists.
func (f *fixture) useLists(t *testing.T, a *ca, lists ...[]byte) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	f.c.List = f.objects.List
	if err := f.Use(Trust{ClientCAs: pool, ClientCRLs: lists}); err != nil {
		t.Fatal(err)
	}
}

// What is no complete list of one issuer is refused with the configuration.
func TestBadRevocationLists(t *testing.T) {
	f, a := newFixture(t), newCA(t)
	critical := []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}}
	for name, lists := range map[string][][]byte{
		"no list":   {a.cert.Raw},
		"nothing":   {{}},
		"trailing":  {append(a.revokes(t, nil), 0)},
		"of a part": {a.revokes(t, func(l *x509.RevocationList) { l.ExtraExtensions = critical })},
		"of others": {a.revokes(t, func(l *x509.RevocationList) { l.RevokedCertificateEntries[0].ExtraExtensions = critical }, 9)},
		"two":       {a.revokes(t, nil), a.revokes(t, nil, 3)},
		"large":     {make([]byte, maxCRL+1)},
	} {
		if err := f.Use(Trust{ClientCRLs: lists}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzCRL(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	a := &ca{certified(f, key, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), key}
	f.Add(a.revokes(f, nil))
	f.Add(a.revokes(f, nil, 1, 2, 3))
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := parseCRL(der)
		if err != nil {
			return
		}
		if len(c.serials) > len(c.list.RevokedCertificateEntries) || c.list.NextUpdate.IsZero() {
			t.Errorf("%d serials of %d entries, until %v", len(c.serials), len(c.list.RevokedCertificateEntries), c.list.NextUpdate)
		}
		_, _ = revocations{string(c.list.RawIssuer): c}.check([]*x509.Certificate{a.cert, a.cert}, time.Unix(1_800_000_000, 0))
	})
}

// TestRevokedOnAnyWay: a client chooses which certificates it sends, so each way from its
// own to a root is asked about: one that is not revoked does not make up for another.
func TestRevokedOnAnyWay(t *testing.T) {
	f, a := newFixture(t), newCA(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := &ca{certified(t, key, func(c *x509.Certificate) {
		c.Subject, c.IsCA, c.BasicConstraintsValid = pkix.Name{CommonName: "other root"}, true, true
	}), key}
	middle := a.below(t, 4)
	der, err := x509.CreateCertificate(rand.Reader, middle.cert, b.cert, &middle.key.PublicKey, b.key) // the same CA below both
	if err != nil {
		t.Fatal(err)
	}
	crossed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	leaf := middle.issue(t)
	f.p.Certificates = []Certificate{{DER: leaf.Raw}}
	f.objects.put(t, f.p)
	f.c.List = f.objects.List
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	pool.AddCert(b.cert)
	chain := []*x509.Certificate{leaf, middle.cert, crossed}
	for name, c := range map[string]struct {
		a, b []int64 // serial numbers on the roots' lists
		want bool
	}{
		"neither": {nil, nil, true}, "below one": {[]int64{4}, nil, false}, "below the other": {nil, []int64{4}, false},
	} {
		if err := f.Use(Trust{ClientCAs: pool, ClientCRLs: [][]byte{a.revokes(t, nil, c.a...), b.revokes(t, nil, c.b...), middle.revokes(t, nil)}}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.AuthenticateCertificate(t.Context(), chain); (err == nil) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
