package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/release"
)

// List gives objects in the order of their names.
func (o *objects) List(_ context.Context, kind, after string, limit int) (out []*release.Object, err error) {
	var names []string
	for k := range o.values {
		if name, ok := strings.CutPrefix(k, kind+"/"); ok && name > after {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, n := range names[:min(limit, len(names))] {
		out = append(out, &release.Object{Kind: kind, Name: n, Value: o.values[kind+"/"+n]})
	}
	return out, o.err
}

// ca signs client certificates.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &ca{certified(t, key, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), key}
}

func (a *ca) issue(t *testing.T, change ...func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: time.Unix(1_700_000_000, 0), NotAfter: time.Unix(1_900_000_000, 0),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, f := range change {
		f(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (f *fixture) trustCA(t *testing.T, a *ca) {
	t.Helper()
	f.c.List = f.objects.List
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	if err := f.Use(Trust{ClientCAs: pool}); err != nil {
		t.Fatal(err)
	}
}

func TestMutual(t *testing.T) {
	f, a := newFixture(t), newCA(t)
	f.trustCA(t, a)
	// The system's roots prove nobody either, not even those that sign for our clients.
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", roots)
	id, err := url.Parse("spiffe://example/app")
	if err != nil {
		t.Fatal(err)
	}
	pinned := a.issue(t)
	byURI := a.issue(t, func(c *x509.Certificate) { c.URIs = []*url.URL{id} })
	byDNS := a.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"App.example"} })
	f.p.Certificates = []Certificate{{DER: pinned.Raw}, {SAN: "uri:spiffe://example/app"}, {SAN: "dns:app.example"}}
	f.objects.put(t, f.p)
	refused := func(name string, leaf *x509.Certificate) {
		t.Helper()
		if c, err := f.AuthenticateCertificate(t.Context(), []*x509.Certificate{leaf}); c != nil || err == nil || release.ReasonOf(err) != release.ReasonUnauthorized {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	for name, leaf := range map[string]*x509.Certificate{"pinned": pinned, "uri": byURI, "dns": byDNS} {
		for range 2 {
			if c, err := f.AuthenticateCertificate(t.Context(), []*x509.Certificate{leaf}); err != nil || c.ID != f.p.ID || !c.May(KeysRead, Everywhere) {
				t.Errorf("%s: %+v, %v", name, c, err)
			}
		}
	}
	uri2 := *id
	uri2.Path = "/app/x"
	for name, leaf := range map[string]*x509.Certificate{
		"another of the CA": a.issue(t),
		"another name":      a.issue(t, func(c *x509.Certificate) { c.URIs = []*url.URL{&uri2} }),
		"a wildcard":        a.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"*.example"} }),
		"for servers": a.issue(t, func(c *x509.Certificate) {
			c.ExtKeyUsage, c.URIs = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []*url.URL{id}
		}),
		"ended":      a.issue(t, func(c *x509.Certificate) { c.NotAfter, c.URIs = f.now.Add(-time.Second), []*url.URL{id} }),
		"another CA": newCA(t).issue(t, func(c *x509.Certificate) { c.URIs = []*url.URL{id} }),
	} {
		refused(name, leaf)
	}
	// Taken away: at the next request, remembered or not.
	f.p.Certificates = f.p.Certificates[1:]
	f.objects.put(t, f.p)
	refused("taken away", pinned)
	f.p.Enabled = false
	f.objects.put(t, f.p)
	refused("disabled", byURI)
	f.p.Enabled = true
	f.objects.put(t, f.p)
	f.trustCA(t, newCA(t))
	refused("CA exchanged", byURI)
	if err := f.Use(Trust{}); err != nil {
		t.Fatal(err)
	}
	refused("no CA", byURI)
}

// TestMutualStranger: the principals are not read for every request of somebody with a
// certificate of the CA that is none of theirs.
func TestMutualStranger(t *testing.T) {
	f, a := newFixture(t), newCA(t)
	f.trustCA(t, a)
	lists := 0
	f.c.List = func(ctx context.Context, kind, after string, limit int) ([]*release.Object, error) {
		lists++
		return f.objects.List(ctx, kind, after, limit)
	}
	leaf := a.issue(t)
	try := func() error {
		_, err := f.AuthenticateCertificate(t.Context(), []*x509.Certificate{leaf})
		return err
	}
	for range 3 {
		if err := try(); release.ReasonOf(err) != release.ReasonUnauthorized {
			t.Fatal(err)
		}
	}
	if lists != 1 {
		t.Errorf("principals read %d times", lists)
	}
	f.p.Certificates = []Certificate{{DER: leaf.Raw}}
	f.objects.put(t, f.p)
	f.now = f.now.Add(cachedStranger + 1)
	if err := try(); err != nil || lists != 2 {
		t.Errorf("registered since: %v, read %d times", err, lists)
	}
	f.objects.err = errors.New("disk")
	leaf = a.issue(t)
	if err := try(); release.ReasonOf(err) != release.ReasonInternal {
		t.Error(err)
	}
	f.objects.err = nil
	if err := try(); release.ReasonOf(err) != release.ReasonUnauthorized || lists != 4 {
		t.Errorf("a failure was remembered: %v, read %d times", err, lists)
	}
}

// A certificate that two principals have proves neither.
func TestMutualAmbiguous(t *testing.T) {
	f, a := newFixture(t), newCA(t)
	f.trustCA(t, a)
	leaf := a.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"app.example"} })
	f.p.Certificates = []Certificate{{DER: leaf.Raw}}
	f.objects.put(t, f.p)
	other, _, err := NewPrincipal("other", f.now)
	if err != nil {
		t.Fatal(err)
	}
	other.Certificates = []Certificate{{SAN: "dns:app.example"}}
	f.objects.put(t, other)
	if _, err := f.AuthenticateCertificate(t.Context(), []*x509.Certificate{leaf}); err == nil || release.ReasonOf(err) != release.ReasonUnauthorized {
		t.Error(err)
	}
	f.objects.err, f.now = errors.New("disk"), f.now.Add(time.Minute)
	if _, err := f.AuthenticateCertificate(t.Context(), []*x509.Certificate{leaf}); release.ReasonOf(err) != release.ReasonInternal {
		t.Errorf("disk error hidden: %v", err)
	}
}

func TestBoth(t *testing.T) {
	f, a := newFixture(t), newCA(t)
	f.trustCA(t, a)
	mine, others := a.issue(t), a.issue(t)
	f.p.Certificates = []Certificate{{DER: mine.Raw}}
	f.objects.put(t, f.p)
	other, _, err := NewPrincipal("other", f.now)
	if err != nil {
		t.Fatal(err)
	}
	other.Certificates = []Certificate{{DER: others.Raw}}
	f.objects.put(t, other)
	tok := f.token(t)
	if c, err := f.AuthenticateBoth(t.Context(), tok, []*x509.Certificate{mine}); err != nil || c.ID != f.p.ID {
		t.Errorf("%+v, %v", c, err)
	}
	for name, leaf := range map[string]*x509.Certificate{"another's": others, "nobody's": a.issue(t)} {
		if _, err := f.AuthenticateBoth(t.Context(), tok, []*x509.Certificate{leaf}); err == nil || release.ReasonOf(err) != release.ReasonUnauthorized {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.AuthenticateBoth(t.Context(), "a.b.c", []*x509.Certificate{mine}); err == nil {
		t.Error("bad token with a good certificate")
	}
}
