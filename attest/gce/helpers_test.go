package gce_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/gce"
	"github.com/openskr/openskr/attest/gce/format"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
	"github.com/openskr/openskr/internal/strict"
)

var (
	now   = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	nonce = []byte("nonce of the broker")

	oidInstance = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 21}
	oidEK       = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
)

type explicitInt struct {
	V int64 `asn1:"explicit,tag:0"`
	P bool  `asn1:"explicit,tag:1"`
	X bool  `asn1:"explicit,tag:2"`
}

type instanceInfo struct {
	Zone     string `asn1:"utf8"`
	Number   int64
	Project  string `asn1:"utf8"`
	ID       int64
	Name     string      `asn1:"utf8"`
	Security explicitInt `asn1:"explicit,tag:0"`
}

func info(change ...func(*instanceInfo)) []byte {
	i := instanceInfo{"us-central1-a", 42, "example.com:project", 4242, "web-1", explicitInt{3, true, false}}
	for _, f := range change {
		f(&i)
	}
	b, err := asn1.Marshal(i)
	if err != nil {
		panic(err)
	}
	return b
}

// cloud is an authority with a machine below it.
type cloud struct {
	*tpmtest.Machine
	root, intermediate *x509.Certificate
	key                *ecdsa.PrivateKey // of the intermediate
}

func newCloud(t testing.TB) *cloud {
	t.Helper()
	m, err := tpmtest.New(now)
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{Machine: m}
	var rootKey *ecdsa.PrivateKey
	c.root, rootKey = ca(t, "cloud root", nil, nil)
	c.intermediate, c.key = ca(t, "cloud intermediate", c.root, rootKey)
	return c
}

func ca(t testing.TB, name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if parent == nil {
		parent, by = tmpl, key
	}
	return certificate(t, tmpl, parent, key.Public(), by), key
}

func certificate(t testing.TB, tmpl, parent *x509.Certificate, key any, by *ecdsa.PrivateKey) *x509.Certificate {
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

// certify makes the AK certificate, changed.
func (c *cloud) certify(t testing.TB, change ...func(*x509.Certificate)) []byte {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, UnknownExtKeyUsage: []asn1.ObjectIdentifier{oidEK}, BasicConstraintsValid: true,
		ExtraExtensions: []pkix.Extension{{Id: oidInstance, Value: info()}},
	}
	for _, f := range change {
		f(tmpl)
	}
	return certificate(t, tmpl, c.intermediate, c.AKKey.Public(), c.key).Raw
}

func (c *cloud) config() gce.Config {
	return gce.Config{Roots: []*x509.Certificate{c.root}, Denied: func(string) bool { return false }}
}

func verifier(t testing.TB, cfg gce.Config) *gce.Verifier {
	t.Helper()
	v, err := gce.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// evidence is sound evidence, the body changed before it is packed.
func (c *cloud) evidence(t testing.TB, change ...func(*format.Evidence)) attest.Evidence {
	t.Helper()
	rd := c.RuntimeData(nonce)
	part, err := c.Body(rd)
	if err != nil {
		t.Fatal(err)
	}
	body := &format.Evidence{Type: attest.TypeGCE, TPM: *part}
	for _, f := range change {
		f(body)
	}
	raw, err := strict.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return attest.Evidence{Type: attest.TypeGCE, Body: raw, RuntimeData: rd, Endorsements: c.endorsements(c.certify(t))}
}

func (c *cloud) endorsements(ak []byte) []attest.Endorsement {
	return []attest.Endorsement{
		{Type: attest.EndorsementAKCertificate, Data: ak}, {Type: attest.EndorsementCertificate, Data: c.intermediate.Raw},
	}
}

// hardware is a fake whose report is its report data alone.
type hardware struct {
	res  attest.Result
	rej  *attest.Rejection
	mu   sync.Mutex
	ends []attest.Endorsement // that it saw
}

func (h *hardware) Anchors() [][]byte { return [][]byte{[]byte("hardware root")} }

func (h *hardware) Appraise(_ context.Context, raw []byte, ends []attest.Endorsement, _ time.Time) (*attest.Result, []byte, *attest.Rejection) {
	h.mu.Lock()
	h.ends = ends
	h.mu.Unlock()
	if h.rej != nil {
		return nil, nil, h.rej
	}
	res := h.res
	return &res, raw, nil
}

func sound() *hardware {
	return &hardware{res: attest.Result{
		Type: attest.TypeSNP, Claims: attest.Claims{"snp": map[string]any{"vmpl": int64(0)}},
		Facts: attest.Facts{Chain: true, Signature: true, Revocation: attest.Checked, TCBStatus: "UpToDate", CollateralAge: time.Hour},
	}}
}

// report is report data that names the runtime data and the AK of c.
func (c *cloud) report() []byte {
	d, key := binding.Digest(c.RuntimeData(nonce)), sha256.Sum256(c.AKPublic())
	return append(d[:], key[:]...)
}

// wantCheck fails unless err is a Rejection with that check; identity says whether it
// must name the instance.
func wantCheck(t *testing.T, err error, want attest.Check, identity bool) {
	t.Helper()
	var r *attest.Rejection
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a rejection with %s", err, want)
	}
	if r.Check != want || (r.Identity != nil) != identity {
		t.Fatalf("got %v with identity %v, want %s with identity: %v", r, r.Identity, want, identity)
	}
	if id := attest.Identify(attest.TypeGCE, []byte("42/us-central1-a/4242")); identity && *r.Identity != id {
		t.Fatalf("identity %v, want %v", *r.Identity, id)
	}
}
