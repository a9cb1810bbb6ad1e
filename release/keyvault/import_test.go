package keyvault

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/release"
	"github.com/openskr/openskr/release/wrap"
)

func rsaKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func jwkOf(k *rsa.PrivateKey) JWK {
	return JWK{
		Kty: "RSA", N: k.N.Bytes(), E: []byte{1, 0, 1}, D: k.D.Bytes(), P: k.Primes[0].Bytes(), Q: k.Primes[1].Bytes(),
		DP: k.Precomputed.Dp.Bytes(), DQ: k.Precomputed.Dq.Bytes(), QI: k.Precomputed.Qinv.Bytes(),
	}
}

func ecJWK(t testing.TB, c elliptic.Curve) JWK {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	point, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	n := (len(point) - 1) / 2
	return JWK{Kty: "EC", Crv: c.Params().Name, X: point[1 : 1+n], Y: point[1+n:], D: d}
}

// rebuilt gives the JWK of primes that were chosen badly, in every other respect
// correct.
func rebuilt(p, q *big.Int, e int64) JWK {
	one := big.NewInt(1)
	p1, q1 := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
	phi := new(big.Int).Mul(p1, q1)
	d := new(big.Int).ModInverse(big.NewInt(e), phi)
	if d == nil {
		d = big.NewInt(3)
	}
	qi := new(big.Int).ModInverse(q, p)
	if qi == nil {
		qi = one
	}
	return JWK{
		Kty: "RSA", N: new(big.Int).Mul(p, q).Bytes(), E: big.NewInt(e).Bytes(), D: d.Bytes(), P: p.Bytes(), Q: q.Bytes(),
		DP: new(big.Int).Mod(d, p1).Bytes(), DQ: new(big.Int).Mod(d, q1).Bytes(), QI: qi.Bytes(),
	}
}

func nextPrime(n *big.Int) *big.Int {
	p := new(big.Int).SetBit(new(big.Int).Add(n, big.NewInt(2)), 0, 1)
	for !p.ProbablyPrime(20) {
		p.Add(p, big.NewInt(2))
	}
	return p
}

// Weak and broken keys (security: CR-12). All are refused with key_invalid, and
// the word that must be in the operator's text says that it was for the right reason.
func TestWeakRSA(t *testing.T) {
	k := rsaKey(t)
	p, q := k.Primes[0], k.Primes[1]
	composite := new(big.Int).SetBit(new(big.Int).Set(p), 100, p.Bit(100)^1)
	for composite.ProbablyPrime(20) {
		composite.Add(composite, big.NewInt(2))
	}
	change := func(f func(*JWK)) JWK { j := jwkOf(k); f(&j); return j }
	flip := func(b []byte) []byte { c := bytes.Clone(b); c[len(c)-1] ^= 2; return c }
	for name, c := range map[string]struct {
		jwk  JWK
		text string
	}{
		"p is q":           {rebuilt(p, p, 65537), "close"},
		"p next to q":      {rebuilt(p, nextPrime(p), 65537), "close"},
		"e is 1":           {rebuilt(p, q, 1), "exponent"},
		"e is 3":           {rebuilt(p, q, 3), "exponent"},
		"e is large":       {change(func(j *JWK) { j.E = append([]byte{1}, make([]byte, 40)...) }), "exponent"},
		"e is 2^32+65537":  {change(func(j *JWK) { j.E = []byte{1, 0, 1, 0, 1} }), "exponent"},
		"even modulus":     {change(func(j *JWK) { j.N = flip(j.N); j.N[len(j.N)-1] &^= 1 }), "even"},
		"another modulus":  {change(func(j *JWK) { j.N = flip(j.N) }), "inconsistent"},
		"not prime":        {rebuilt(composite, q, 65537), "prime"},
		"another d":        {change(func(j *JWK) { j.D = flip(j.D) }), "inconsistent"},
		"small d":          {change(func(j *JWK) { j.D = j.D[:64] }), "too small"},
		"another dp":       {change(func(j *JWK) { j.DP = flip(j.DP) }), "dp, dq, qi"},
		"another dq":       {change(func(j *JWK) { j.DQ = flip(j.DQ) }), "dp, dq, qi"},
		"another qi":       {change(func(j *JWK) { j.QI = flip(j.QI) }), "dp, dq, qi"},
		"p and q turned":   {change(func(j *JWK) { j.P, j.Q = j.Q, j.P }), "dp, dq, qi"},
		"no dp":            {change(func(j *JWK) { j.DP = nil }), "exactly the members"},
		"no p":             {change(func(j *JWK) { j.P = nil }), "exactly the members"},
		"a curve":          {change(func(j *JWK) { j.Crv = "P-256" }), "exactly the members"},
		"a k":              {change(func(j *JWK) { j.K = []byte{1} }), "exactly the members"},
		"an x":             {change(func(j *JWK) { j.X = []byte{1} }), "exactly the members"},
		"1024 bits":        {rebuilt(nextPrime(new(big.Int).Lsh(big.NewInt(3), 510)), nextPrime(new(big.Int).Add(new(big.Int).Lsh(big.NewInt(7), 509), big.NewInt(1))), 65537), "2048, 3072 or 4096"},
		"uneven primes":    {rebuilt(nextPrime(new(big.Int).Lsh(big.NewInt(3), 510)), nextPrime(new(big.Int).Lsh(big.NewInt(3), 1534)), 65537), "half as long"},
		"huge member":      {change(func(j *JWK) { j.N = make([]byte, 1<<20) }), "longer than any"},
		"all zero":         {JWK{Kty: "RSA", N: []byte{0}, E: []byte{1, 0, 1}, D: []byte{0}, P: []byte{0}, Q: []byte{0}, DP: []byte{0}, DQ: []byte{0}, QI: []byte{0}}, ""},
		"zero p":           {change(func(j *JWK) { j.P = []byte{0} }), ""},
		"one as a prime":   {change(func(j *JWK) { j.P = []byte{1}; j.Q = bytes.Clone(j.N) }), ""},
		"type in capitals": {change(func(j *JWK) { j.Kty = "rsa" }), "want RSA, EC or oct"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := FromJWK(c.jwk)
			if m != nil || release.ReasonOf(err) != release.ReasonKeyInvalid || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, %v, want a text with %q", m, err, c.text)
			}
		})
	}
	if m, err := FromJWK(jwkOf(k)); err != nil || m.size != 2048 {
		t.Errorf("the sound key: %v", err)
	}
}

// A modulus in the multiplicative group of 65537 is what the broken library
// makes; a random one is not. The group's members come from the definition, not
// from the detector.
func TestROCA(t *testing.T) {
	m := big.NewInt(1)
	for _, p := range []int64{2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167} {
		m.Mul(m, big.NewInt(p))
	}
	for _, exp := range []int64{1, 2, 12345, 1 << 40} {
		n := new(big.Int).Exp(big.NewInt(65537), big.NewInt(exp), m)
		n.Add(n, new(big.Int).Lsh(m, 1800))
		if !wrap.IsROCA(n) {
			t.Errorf("65537^%d mod M is not noticed", exp)
		}
	}
	for range 3 {
		if wrap.IsROCA(rsaKey(t).N) {
			t.Error("a sound key is refused")
		}
	}
	k := rsaKey(t)
	k.N = new(big.Int).Add(new(big.Int).Lsh(m, uint(2048-m.BitLen())), big.NewInt(65537))
	if err := soundRSA(k); err == nil || !strings.Contains(err.Error(), "ROCA") {
		t.Errorf("import: %v", err)
	}
}

func TestWeakEC(t *testing.T) {
	good := ecJWK(t, elliptic.P256())
	other := ecJWK(t, elliptic.P256())
	change := func(f func(*JWK)) JWK { j := good; f(&j); return j }
	order := elliptic.P256().Params().N
	for name, jwk := range map[string]JWK{
		"another x":      change(func(j *JWK) { j.X = other.X }),
		"another d":      change(func(j *JWK) { j.D = other.D }),
		"x and y turned": change(func(j *JWK) { j.X, j.Y = j.Y, j.X }),
		"y negated": change(func(j *JWK) {
			j.Y = new(big.Int).Sub(elliptic.P256().Params().P, new(big.Int).SetBytes(j.Y)).FillBytes(make([]byte, 32))
		}),
		"another curve":   change(func(j *JWK) { j.Crv = "P-384" }),
		"unknown curve":   change(func(j *JWK) { j.Crv = "secp256k1" }),
		"no curve":        change(func(j *JWK) { j.Crv = "" }),
		"short x":         change(func(j *JWK) { j.X = j.X[1:] }),
		"padded d":        change(func(j *JWK) { j.D = append([]byte{0}, j.D...) }),
		"zero d":          change(func(j *JWK) { j.D = make([]byte, 32) }),
		"d is the order":  change(func(j *JWK) { j.D = order.Bytes() }),
		"d beyond order":  change(func(j *JWK) { j.D = new(big.Int).Add(order, big.NewInt(1)).Bytes() }),
		"no y":            change(func(j *JWK) { j.Y = nil }),
		"an n":            change(func(j *JWK) { j.N = []byte{1} }),
		"a k":             change(func(j *JWK) { j.K = []byte{1} }),
		"called oct":      change(func(j *JWK) { j.Kty = "oct" }),
		"oct of 0 bytes":  {Kty: "oct"},
		"oct of 7 bytes":  {Kty: "oct", K: make([]byte, 7)},
		"oct of 33 bytes": {Kty: "oct", K: make([]byte, 33)},
		"oct with a d":    {Kty: "oct", K: make([]byte, 32), D: []byte{1}},
		"oct with crv":    {Kty: "oct", Crv: "P-256", K: make([]byte, 32)},
		"nothing":         {},
	} {
		if m, err := FromJWK(jwk); m != nil || release.ReasonOf(err) != release.ReasonKeyInvalid {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		if m, err := FromJWK(ecJWK(t, c)); err != nil || m.crv != c.Params().Name {
			t.Errorf("%s: %v", c.Params().Name, err)
		}
	}
}

func pkcs8(t testing.TB, k any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestParsePrivate(t *testing.T) {
	k := rsaKey(t)
	ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der := pkcs8(t, k)
	for name, b := range map[string][]byte{
		"PKCS#8 DER": der, "PKCS#8 PEM": block("PRIVATE KEY", der), "PKCS#1 PEM": block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k)),
		"PEM and a line end": append(block("PRIVATE KEY", der), '\n'),
	} {
		if m, err := ParsePrivate(b); err != nil || !bytes.Equal(m.payload, der) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{"SEC 1": block("EC PRIVATE KEY", sec1), "EC PKCS#8": pkcs8(t, ec)} {
		if m, err := ParsePrivate(b); err != nil || m.crv != "P-384" || !bytes.Equal(m.payload, pkcs8(t, ec)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, n := range []int{16, 24, 32} {
		if m, err := ParsePrivate(make([]byte, n)); err != nil || m.kty != KtyOct || m.size != n*8 {
			t.Errorf("%d raw bytes: %v", n, err)
		}
	}
	for name, b := range map[string][]byte{
		"nothing":               nil,
		"31 raw bytes":          make([]byte, 31),
		"DER and a byte":        append(bytes.Clone(der), 0),
		"DER cut":               der[:len(der)-1],
		"two PEM blocks":        append(block("PRIVATE KEY", der), block("PRIVATE KEY", der)...),
		"text behind":           append(block("PRIVATE KEY", der), "x"...),
		"text in front":         append([]byte("x\n"), block("PRIVATE KEY", der)...),
		"PEM and DER behind":    block("PRIVATE KEY", append(bytes.Clone(der), 0)),
		"encrypted":             block("ENCRYPTED PRIVATE KEY", der),
		"encrypted the old way": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: x509.MarshalPKCS1PrivateKey(k)}),
		"public":                block("PUBLIC KEY", der),
		"certificate":           block("CERTIFICATE", der),
		"wrong label":           block("EC PRIVATE KEY", der),
		"P-224":                 pkcs8(t, p224),
		"Ed25519":               pkcs8(t, ed),
		"long":                  block("PRIVATE KEY", make([]byte, 1<<20)),
	} {
		m, err := ParsePrivate(b)
		if m != nil || release.ReasonOf(err) != release.ReasonKeyInvalid {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}

func TestMaterialHidesItself(t *testing.T) {
	raw := []byte("sixteen byte key")
	m, err := ParsePrivate(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		if s := fmt.Sprintf(verb, m); s != "oct key material" {
			t.Errorf("%s shows %q", verb, s)
		}
	}
	m.Clear()
	if slices.ContainsFunc(m.payload, func(b byte) bool { return b != 0 }) {
		t.Error("not cleared")
	}
	(*Material)(nil).Clear()
}

// Whatever parses is a sound key whose payload parses to itself again.
func FuzzParsePrivate(f *testing.F) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pkcs8(f, ec))
	f.Add(block("PRIVATE KEY", pkcs8(f, ec)))
	f.Add(block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey(f))))
	f.Add(make([]byte, 32))
	f.Add([]byte("-----BEGIN "))
	if m, err := Generate("EC", "P-256K", 0); err == nil {
		f.Add(m.payload)
		f.Add(block("PRIVATE KEY", m.payload))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParsePrivate(b)
		if err != nil {
			if release.ReasonOf(err) != release.ReasonKeyInvalid {
				t.Fatalf("reason %s", release.ReasonOf(err))
			}
			return
		}
		again, err := ParsePrivate(m.payload)
		if err != nil || !bytes.Equal(again.payload, m.payload) || again.size != m.size {
			t.Fatalf("parsed once but not again: %v", err)
		}
	})
}

func FuzzFromJWK(f *testing.F) {
	j := jwkOf(rsaKey(f))
	f.Add(j.Kty, j.Crv, j.N, j.E, j.D, j.P, j.Q, j.DP, j.DQ, j.QI, j.X, j.Y, j.K)
	j = ecJWK(f, elliptic.P256())
	f.Add(j.Kty, j.Crv, j.N, j.E, j.D, j.P, j.Q, j.DP, j.DQ, j.QI, j.X, j.Y, j.K)
	f.Add(j.Kty, "P-256K", j.N, j.E, j.D, j.P, j.Q, j.DP, j.DQ, j.QI, j.X, j.Y, j.K)
	f.Fuzz(func(t *testing.T, kty, crv string, n, e, d, p, q, dp, dq, qi, x, y, k []byte) {
		m, err := FromJWK(JWK{Kty: kty, Crv: crv, N: n, E: e, D: d, P: p, Q: q, DP: dp, DQ: dq, QI: qi, X: x, Y: y, K: k})
		if (err == nil) != (m != nil) || err != nil && release.ReasonOf(err) != release.ReasonKeyInvalid {
			t.Fatalf("%v, %v", m, err)
		}
	})
}
