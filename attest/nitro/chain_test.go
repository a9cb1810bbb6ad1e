package nitro_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/nitro"
	"github.com/openskr/openskr/attest/nitro/format"
	"github.com/openskr/openskr/attest/nitro/simulated"
)

// maker makes a chain of its own, one certificate at a time.
type maker struct {
	t    *testing.T
	keys []*ecdsa.PrivateKey
	path []*x509.Certificate // root first
}

func template(ca bool) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "made"}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, SignatureAlgorithm: x509.ECDSAWithSHA384,
	}
	if ca {
		c.IsCA, c.KeyUsage, c.MaxPathLen = true, x509.KeyUsageCertSign, -1
	}
	return c
}

// add makes the next certificate, changed.
func (m *maker) add(tmpl *x509.Certificate, curve elliptic.Curve) *maker {
	m.t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		m.t.Fatal(err)
	}
	tmpl.Subject.CommonName += string(rune('0' + len(m.path)))
	parent, by := tmpl, key
	if n := len(m.path); n > 0 {
		parent, by = m.path[n-1], m.keys[n-1]
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, by)
	if err != nil {
		m.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		m.t.Fatal(err)
	}
	m.keys, m.path = append(m.keys, key), append(m.path, c)
	return m
}

// verify signs a document with the last key and verifies it under the first
// certificate.
func (m *maker) verify(p *simulated.Platform) error {
	m.t.Helper()
	d := draft(m.t, p)
	d.Bundle = nil
	last := len(m.path) - 1
	for _, c := range m.path[:last] {
		d.Bundle = append(d.Bundle, c.Raw)
	}
	d.Leaf = m.path[last].Raw
	return verifyUnder(m.t, m.path[0], seal(m.t, m.keys[last], d.Payload()))
}

func verifyUnder(t *testing.T, root *x509.Certificate, doc []byte) error {
	t.Helper()
	v, err := nitro.New(nitro.Config{Type: attest.TypeNitro.Simulated(), Roots: []*x509.Certificate{root}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), pack(t, doc), attest.Expect{At: now})
	return err
}

func seal(t *testing.T, key *ecdsa.PrivateKey, payload []byte) []byte {
	t.Helper()
	protected := []byte("\xa1\x01\x38\x22")
	tbs := format.AppendBytes(format.AppendBytes(format.AppendText(format.AppendArray(nil, 4), "Signature1"), protected), []byte{})
	h := sha512.Sum384(format.AppendBytes(tbs, payload))
	r, s, err := ecdsa.Sign(rand.Reader, key, h[:])
	if err != nil {
		t.Fatal(err)
	}
	sig := append(r.FillBytes(make([]byte, 66)), s.FillBytes(make([]byte, 66))...)
	sig = append(sig[18:66:66], sig[84:]...)
	b := format.AppendBytes(format.AppendArray(nil, 4), protected)
	return format.AppendBytes(format.AppendBytes(format.AppendMap(b, 0), payload), sig)
}

// TestChain is CC-16 and CC-17: who may sign whom.
func TestChain(t *testing.T) {
	p := platform(t, 1)
	p384 := elliptic.P384()
	changed := func(ca bool, f func(*x509.Certificate)) *x509.Certificate {
		c := template(ca)
		f(c)
		return c
	}
	for name, tc := range map[string]struct {
		middle, leaf *x509.Certificate
		curve        elliptic.Curve
		want         attest.Check
	}{
		"sound":                      {template(true), template(false), p384, ""},
		"leaf signs a leaf":          {template(false), template(false), p384, attest.CheckChainUntrusted},
		"CA may not sign":            {changed(true, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), template(false), p384, attest.CheckChainUntrusted},
		"CA without key usage":       {changed(true, func(c *x509.Certificate) { c.KeyUsage = 0 }), template(false), p384, attest.CheckChainUntrusted},
		"leaf with the CA bit":       {template(true), changed(false, func(c *x509.Certificate) { c.IsCA = true }), p384, attest.CheckChainUntrusted},
		"CA without a constraint":    {changed(true, func(c *x509.Certificate) { c.BasicConstraintsValid = false }), template(false), p384, attest.CheckChainUntrusted},
		"CA for a leaf":              {template(true), template(true), p384, attest.CheckChainUntrusted},
		"leaf may sign certificates": {template(true), changed(false, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), p384, attest.CheckChainUntrusted},
		"leaf without key usage":     {template(true), changed(false, func(c *x509.Certificate) { c.KeyUsage = 0 }), p384, attest.CheckChainUntrusted},
		"leaf on P-256":              {template(true), template(false), elliptic.P256(), attest.CheckChainUntrusted},
		"leaf on P-521":              {template(true), template(false), elliptic.P521(), attest.CheckChainUntrusted},
		"leaf expired":               {template(true), changed(false, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), p384, attest.CheckChainExpired},
		"leaf not yet valid":         {template(true), changed(false, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), p384, attest.CheckChainExpired},
		"CA expired":                 {changed(true, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), template(false), p384, attest.CheckChainExpired},
		"CA not yet valid":           {changed(true, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }), template(false), p384, attest.CheckChainExpired},
		"never valid together": {
			changed(true, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }),
			changed(false, func(c *x509.Certificate) { c.NotBefore = now }), p384, attest.CheckChainUntrusted,
		},
		"SHA-256 in the leaf": {template(true), changed(false, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA256 }), p384, attest.CheckChainUntrusted},
		"critical extension": {template(true), changed(false, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}), p384, attest.CheckChainUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			m := (&maker{t: t}).add(template(true), p384).add(tc.middle, p384).add(tc.leaf, tc.curve)
			err := m.verify(p)
			if tc.want != "" {
				wantCheck(t, err, tc.want, false)
			} else if err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("path too long", func(t *testing.T) {
		root := template(true)
		root.MaxPathLen, root.MaxPathLenZero = 0, true
		m := (&maker{t: t}).add(root, p384).add(template(true), p384).add(template(false), p384)
		wantCheck(t, m.verify(p), attest.CheckChainUntrusted, false)
	})
	t.Run("root of the same name with another key", func(t *testing.T) {
		m := (&maker{t: t}).add(template(true), p384).add(template(false), p384)
		m.path[0] = (&maker{t: t}).add(template(true), p384).path[0]
		wantCheck(t, m.verify(p), attest.CheckChainUntrusted, false)
	})
}

// TestRootKeys: no other algorithm is a root, so that no chain starts with one.
func TestRootKeys(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := template(true)
	tmpl.SignatureAlgorithm = x509.SHA384WithRSA
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nitro.New(nitro.Config{Roots: []*x509.Certificate{root}}); err == nil {
		t.Error("an RSA root is accepted")
	}
}

// TestPointOutside is EV-19 and EV-22: a certified key whose coordinates are zero, not
// on the curve, or not below p.
func TestPointOutside(t *testing.T) {
	p := platform(t, 1)
	params := elliptic.P384().Params()
	// The smallest x with a point: x + p still fits 384 bits.
	x, y := new(big.Int), new(big.Int)
	for i := int64(1); ; i++ {
		x.SetInt64(i)
		rhs := new(big.Int).Exp(x, big.NewInt(3), params.P)
		rhs.Sub(rhs, new(big.Int).Mul(big.NewInt(3), x)).Add(rhs, params.B).Mod(rhs, params.P)
		if y.ModSqrt(rhs, params.P) != nil {
			break
		}
		y = new(big.Int)
	}
	for name, c := range map[string]struct {
		x, y *big.Int
		want attest.Check
	}{
		"all zero":         {new(big.Int), new(big.Int), attest.CheckChainUntrusted},
		"not on the curve": {x, new(big.Int).Add(y, big.NewInt(1)), attest.CheckChainUntrusted},
		"x not below p":    {new(big.Int).Add(x, params.P), y, attest.CheckChainUntrusted},
		"the point itself": {x, y, attest.CheckSignature}, // the way of the test leads there
	} {
		t.Run(name, func(t *testing.T) {
			m := (&maker{t: t}).add(template(true), elliptic.P384()).add(template(false), elliptic.P384())
			leaf := withPoint(t, m.path[1], m.keys[0], append(c.x.FillBytes(make([]byte, 48)), c.y.FillBytes(make([]byte, 48))...))
			d := draft(t, p)
			d.Bundle, d.Leaf = [][]byte{m.path[0].Raw}, leaf
			wantCheck(t, verifyUnder(t, m.path[0], seal(t, m.keys[1], d.Payload())), c.want, false)
		})
	}
}

// withPoint puts another point into a certificate and signs it again.
func withPoint(t *testing.T, c *x509.Certificate, by *ecdsa.PrivateKey, point []byte) []byte {
	t.Helper()
	old, err := c.PublicKey.(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	tbs := bytes.Replace(c.RawTBSCertificate, old[1:], point, 1)
	h := sha512.Sum384(tbs)
	sig, err := ecdsa.SignASN1(rand.Reader, by, h[:])
	if err != nil {
		t.Fatal(err)
	}
	out, err := asn1.Marshal(struct {
		TBS asn1.RawValue
		Alg pkix.AlgorithmIdentifier
		Sig asn1.BitString
	}{asn1.RawValue{FullBytes: tbs}, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}}, asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
