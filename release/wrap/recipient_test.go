package wrap

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/openskr/openskr/testvectors"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// fixed gives a generated vector, for its key.
func fixed(t testing.TB, name string) *vector {
	t.Helper()
	all, err := testvectors.Load("wrap")
	if err != nil {
		t.Fatal(err)
	}
	for _, tv := range all {
		if tv.Name == name {
			var v vector
			if err := json.Unmarshal(tv.Body, &v); err != nil {
				t.Fatal(err)
			}
			return &v
		}
	}
	t.Fatalf("no vector %s", name)
	return nil
}

func modulus(t testing.TB, bits int) *big.Int {
	t.Helper()
	return fixed(t, fmt.Sprintf("rsa%d-%s", bits, EncRSA256)).rsaKey(t).N
}

func refused(t *testing.T, name string, jwk []byte) {
	t.Helper()
	r, err := ParseRecipient(jwk)
	var e *Error
	if r != nil || !errors.As(err, &e) || e.Code != CodeRecipient {
		t.Errorf("%s: got %v, %v", name, r, err)
	}
	if _, err := (Wrapper{AllowSHA1: true}).Check(jwk, EncRSA256); err == nil {
		t.Errorf("%s: Check accepts it", name)
	}
}

// weak fails unless the key is well formed for Check, which strangers may ask and
// so must not do arithmetic on its modulus, and refused by Vet.
func weak(t *testing.T, name string, jwk []byte) {
	t.Helper()
	if _, err := (Wrapper{}).Check(jwk, EncRSA256); err != nil {
		t.Errorf("%s: Check judges the modulus: %v", name, err)
	}
	var e *Error
	if err := (Wrapper{}).Vet(jwk); !errors.As(err, &e) || e.Code != CodeRecipient {
		t.Errorf("%s: Vet gives %v", name, err)
	}
}

// TestMembers is KB-03, KB-08 and KB-09's spelling half: what a JWK may say.
func TestMembers(t *testing.T) {
	n := b64(modulus(t, 2048).Bytes())
	good := fmt.Sprintf(`"kty":"RSA","n":%q,"e":"AQAB"`, n)
	for _, extra := range []string{
		``, `,"kid":"a"`, `,"use":"enc"`, `,"key_ops":["encrypt"]`, `,"key_ops":["wrapKey","decrypt"]`,
		`,"key_ops":["deriveBits"]`, `,"key_ops":"encrypt"`,
	} {
		if _, err := ParseRecipient([]byte("{" + good + extra + "}")); err != nil {
			t.Errorf("%s: %v", extra, err)
		}
	}
	for _, extra := range []string{
		`,"n":"AQAB"`, `,"N":"AQAB"`, `,"kty":"RSA"`, `,"Kty":"RSA"`, `,"alg":"RSA1_5"`, `,"x5c":[]`, `,"jku":"https://x"`,
		`,"d":"AQAB"`, `,"p":"AQAB"`, `,"q":"AQAB"`, `,"dp":"AQAB"`, `,"dq":"AQAB"`, `,"qi":"AQAB"`, `,"oth":[]`, `,"k":"AQAB"`,
		`,"priv":"AQAB"`, `,"d":null`, `,"d":{"a":1}`, `,"kem":80`, `,"pub":"AQAB"`,
		`,"use":"sig"`, `,"use":""`, `,"use":"ENC"`, `,"use":1`, `,"key_ops":[]`, `,"key_ops":["decrypt"]`, `,"key_ops":"sign"`,
		`,"key_ops":["sign","encrypt"]`, `,"key_ops":["encrypt","verify"]`, `,"key_ops":["encrypt","encrypt"]`,
		`,"key_ops":null`, `,"key_ops":{}`, `,"key_ops":["Encrypt"]`, `,"key_ops":[1]`, `,"kid":7`, `,`, `}{`,
	} {
		refused(t, extra, []byte("{"+good+extra+"}"))
	}
	for _, whole := range []string{
		``, `null`, `[]`, `"RSA"`, `{}`, `{"kty":"oct","k":"AAAA"}`, `{"kty":"oct"}`, `{"kty":"EC"}`, `{"kty":"rsa"}`,
		`{"kty":"OKP","crv":"X25519","x":"AA"}`, `{"kty":"HPKE"}`, `{"kty":"RSA"}`, `{"kty":"RSA","n":""}`, "{\xff}",
		`{"kty":"HPKE","kem":"80","pub":"AA"}`, `{"kty":"HPKE","kem":80.0,"pub":"AA"}`, `{"kty":"HPKE","kem":65616,"pub":"AA"}`,
		`{"kty":"HPKE","kem":-16,"pub":"AA"}`, `{"kty":"HPKE","kem":null,"pub":"AA"}`,
		`{"kty":"RSA","n":"` + strings.Repeat("A", MaxJWK) + `"}`,
	} {
		refused(t, fmt.Sprintf("%.40s", whole), []byte(whole))
	}
}

// TestJWKSize: the bound holds for a key that is good in all else.
func TestJWKSize(t *testing.T) {
	jwk := rsaJWK(b64(modulus(t, 2048).Bytes()), exponent)
	jwk = append(jwk, bytes.Repeat([]byte(" "), MaxJWK-len(jwk))...)
	if _, err := ParseRecipient(jwk); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	refused(t, "beyond the limit", append(jwk, ' '))
}

// TestPrivateMemberIsNotPrinted: an error text may reach a log.
func TestPrivateMemberIsNotPrinted(t *testing.T) {
	const canary = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnk"
	for _, jwk := range []string{
		`{"kty":"RSA","n":"AQAB","e":"AQAB","d":"` + canary + `"}`, `{"kty":"oct","k":"` + canary + `"}`,
		`{"kty":"EC","d":"` + canary + `"}`, `{"d":"` + canary + `"`, `{"kty":"HPKE","priv":"` + canary + `","priv":"` + canary + `"}`,
		`{"kty":"RSA","d":"` + canary + `","k":["` + canary + `"]}`, `{"D":"` + canary + `"}`,
	} {
		if _, err := ParseRecipient([]byte(jwk)); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%.30s…: %v", jwk, err)
		}
	}
}

func rsaJWK(n, e string) []byte { return fmt.Appendf(nil, `{"kty":"RSA","n":%q,"e":%q}`, n, e) }

// TestExponent is KB-04.
func TestExponent(t *testing.T) {
	n := b64(modulus(t, 2048).Bytes())
	wide := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 64), big.NewInt(1))
	for _, e := range []string{
		"", b64([]byte{1}), b64([]byte{2}), b64([]byte{3}), b64([]byte{4}), b64([]byte{1, 0, 0}), b64([]byte{0, 1, 0, 1}),
		b64(bytes.Repeat([]byte{0xff}, 8)), b64(wide.Bytes()), "AQAB=", "AQAB\n", " AQAB", "AQAC",
	} {
		refused(t, "e="+e, rsaJWK(n, e))
	}
}

// below gives 2^bits - less.
func below(bits uint, less int64) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), bits)
	return n.Sub(n, big.NewInt(less))
}

// Known numbers are faster than a search: the largest primes of 1024 and 2048 bits.
func prime1024() *big.Int { return below(1024, 105) }
func prime2048() *big.Int { return below(2048, 1942289) }

// TestModulus is KB-05.
func TestModulus(t *testing.T) {
	good := modulus(t, 2048)
	for _, bits := range []int{2048, 3072, 4096} {
		jwk := rsaJWK(b64(modulus(t, bits).Bytes()), exponent)
		if _, err := (Wrapper{}).Check(jwk, EncRSA256); err != nil {
			t.Errorf("%d bits: %v", bits, err)
		}
		if err := (Wrapper{}).Vet(jwk); err != nil {
			t.Errorf("%d bits: %v", bits, err)
		}
	}
	for _, bits := range []int{1, 8, 512, 1024, 2040, 2047, 2049, 2056, 3071, 4095, 4097, 8192, 8193, 16384} {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		refused(t, fmt.Sprintf("%d bits", bits), rsaJWK(b64(n.Add(n, big.NewInt(1)).Bytes()), exponent))
	}
	refused(t, "65536 bits", rsaJWK(b64(bytes.Repeat([]byte{0xff}, 8192)), exponent))
	refused(t, "leading zero", rsaJWK(b64(append([]byte{0}, good.Bytes()...)), exponent))
	for _, bits := range []uint{2042, 2046} { // sound but for a length that fills 256 bytes not quite
		n := new(big.Int).Mul(prime1024(), below(bits-1024+1, 1))
		for hasSmallFactor(n) {
			n.Add(n, big.NewInt(2))
		}
		refused(t, fmt.Sprintf("%d bits in 256 bytes", n.BitLen()), rsaJWK(b64(n.FillBytes(make([]byte, 256))), exponent))
	}
	p := prime1024()
	weak(t, "square", rsaJWK(b64(new(big.Int).Mul(p, p).Bytes()), exponent))
	near := new(big.Int).Sub(p, big.NewInt(1000))
	weak(t, "close primes", rsaJWK(b64(new(big.Int).Mul(p, near).Bytes()), exponent))
	for _, small := range []int64{3, 5, 257, 65521} {
		n := new(big.Int).Div(below(2048, 1), big.NewInt(small))
		for n.SetBit(n, 0, 1); hasSmallFactor(n); n.Sub(n, big.NewInt(2)) {
		}
		n.Mul(n, big.NewInt(small))
		weak(t, fmt.Sprintf("%d bits, factor %d", n.BitLen(), small), rsaJWK(b64(n.Bytes()), exponent))
	}
	refused(t, "even", rsaJWK(b64(new(big.Int).Sub(good, big.NewInt(1)).Bytes()), exponent))
	spare := []byte(b64(good.Bytes())) // 2048 bits leave four spare ones in the last letter
	spare[len(spare)-1]++
	for _, text := range []string{
		string(spare), b64(good.Bytes()) + "=", b64(good.Bytes()) + "\n", base64.RawStdEncoding.EncodeToString(good.Bytes()) + "+", b64(good.Bytes())[:341] + "\r" + b64(good.Bytes())[341:],
	} {
		refused(t, "spelling", rsaJWK(text, exponent))
	}
}

// TestModulusChecks tests each rule by itself: a test above must not pass because
// another rule happened to refuse.
func TestModulusChecks(t *testing.T) {
	good := modulus(t, 2048)
	if hasSmallFactor(good) || IsROCA(good) || closePrimes(good) || isPrime(good) {
		t.Fatal("a sound modulus is refused")
	}
	if !hasSmallFactor(new(big.Int).Mul(big.NewInt(65521), below(2032, 1))) {
		t.Error("factor 65521 not seen")
	}
	q := prime2048()
	if !isPrime(q) {
		t.Error("a prime is not seen")
	}
	weak(t, "prime", rsaJWK(b64(q.Bytes()), exponent))
	p := prime1024()
	if !closePrimes(new(big.Int).Mul(p, p)) {
		t.Error("square not seen")
	}
	if n := rocaModulus(t); !IsROCA(n) || hasSmallFactor(n) || closePrimes(n) || isPrime(n) {
		t.Error("ROCA fingerprint not seen, or not it alone")
	} else if b := n.Bytes(); len(b) == 256 && b[0] >= 0x80 && n.Bit(0) == 1 {
		weak(t, "ROCA", rsaJWK(b64(b), exponent))
	} else {
		t.Errorf("ROCA modulus of %d bits is no test", n.BitLen())
	}
}

// rocaModulus multiplies two numbers of the form k·M + (65537^a mod M), as the
// flawed library made its primes; they need not be prime for the fingerprint.
func rocaModulus(t *testing.T) *big.Int {
	t.Helper()
	m := big.NewInt(1)
	for p := int64(2); p <= 167; p++ {
		if big.NewInt(p).ProbablyPrime(0) {
			m.Mul(m, big.NewInt(p))
		}
	}
	factor := func(a, down int64) *big.Int {
		k := new(big.Int).Div(below(1024, 1), m)
		k.Sub(k, new(big.Int).Div(k, big.NewInt(down))) // not close to the other one
		k.Sub(k, big.NewInt(1<<20))
		f := new(big.Int).Exp(big.NewInt(65537), big.NewInt(a), m)
		for f.Add(f, k.Mul(k, m)); hasSmallFactor(f); f.Add(f, m) {
		}
		return f
	}
	return new(big.Int).Mul(factor(1000003, 1000), factor(99991, 4))
}

func hpkeJWK(kem int, pub []byte) []byte {
	return fmt.Appendf(nil, `{"kty":"HPKE","kem":%d,"pub":%q}`, kem, b64(pub))
}

// TestPoints is KB-06 and KB-17: lengths, curve membership and coefficients.
func TestPoints(t *testing.T) {
	for _, kem := range []uint16{16, 32, 80, 81, 25722} {
		s, _ := suiteOf(kem)
		pub := fixed(t, s.enc).kemKey(t).PublicKey().Bytes()
		if r, err := ParseRecipient(hpkeJWK(int(kem), pub)); err != nil || r.Alg() != s.enc || len(pub) != s.pubSize {
			t.Fatalf("%s: %v", s.enc, err)
		}
		for _, n := range []int{0, 1, len(pub) - 1, len(pub) + 1} {
			refused(t, fmt.Sprintf("%s of %d bytes", s.enc, n), hpkeJWK(int(kem), append(bytes.Clone(pub), 0)[:n]))
		}
		refused(t, "line break", fmt.Appendf(nil, `{"kty":"HPKE","kem":%d,"pub":"%s\n"}`, kem, b64(pub)))
		if !s.x25519 {
			testCurvePoint(t, s, int(kem), pub)
		}
		if kem >= 80 {
			testCoefficients(t, s, int(kem), pub)
		}
	}
	for _, kem := range []int{0, 17, 18, 33, 64, 65, 66, 65535} { // P-384, P-521, X448 and bare ML-KEM are not offered
		refused(t, fmt.Sprintf("KEM %d", kem), hpkeJWK(kem, make([]byte, 1184)))
	}
}

func testCurvePoint(t *testing.T, s suite, kem int, pub []byte) {
	t.Helper()
	size := 65
	if kem == 81 {
		size = 97
	}
	at := len(pub) - size
	field := (size - 1) / 2
	change := func(name string, fn func(point []byte)) {
		bad := bytes.Clone(pub)
		fn(bad[at:])
		refused(t, s.enc+": "+name, hpkeJWK(kem, bad))
	}
	change("off the curve", func(p []byte) { p[size-1] ^= 1 })
	change("infinity", func(p []byte) { clear(p) })
	change("origin", func(p []byte) { clear(p[1:]) })
	change("compressed form byte", func(p []byte) { p[0] = 2 })
	change("hybrid form byte", func(p []byte) { p[0] = 6 })
	change("coordinate not below p", func(p []byte) { copy(p[1:], bytes.Repeat([]byte{0xff}, field)) })
}

func testCoefficients(t *testing.T, s suite, kem int, pub []byte) {
	t.Helper()
	size := mlkem.EncapsulationKeySize768
	if kem == 81 {
		size = mlkem.EncapsulationKeySize1024
	}
	for _, at := range []int{0, 3, size - 32 - 3} { // 12-bit coefficients, three bytes a pair; the seed is last
		bad := bytes.Clone(pub)
		bad[at], bad[at+1] = 0x01, bad[at+1]&0xf0|0x0d // 3329 = q
		refused(t, fmt.Sprintf("%s: coefficient at %d is q", s.enc, at), hpkeJWK(kem, bad))
	}
	refused(t, s.enc+": classical half missing", hpkeJWK(kem, pub[:size]))
	refused(t, s.enc+": halves swapped", hpkeJWK(kem, append(bytes.Clone(pub[size:]), pub[:size]...)))
}

// TestX25519Points is KB-07: the points of low order and every spelling that is
// not reduced, alone and as the half of X-Wing.
func TestX25519Points(t *testing.T) {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	num := func(s string) *big.Int {
		n, ok := new(big.Int).SetString(s, 10)
		if !ok {
			t.Fatal(s)
		}
		return n
	}
	low := map[string]*big.Int{
		"0": big.NewInt(0), "1": big.NewInt(1), "p-1": new(big.Int).Sub(p, big.NewInt(1)), "p": p, "p+1": new(big.Int).Add(p, big.NewInt(1)),
		"order 8":            num("325606250916557431795983626356110631294008115727848805560023387167927233504"),
		"order 8, other":     num("39382357235489614581723060781553021112529911719440698176882885853963445705823"),
		"2p-1":               new(big.Int).Sub(new(big.Int).Lsh(p, 1), big.NewInt(1)),
		"9, not reduced":     new(big.Int).Add(p, big.NewInt(9)),
		"9 with the top bit": new(big.Int).Add(big.NewInt(9), new(big.Int).Lsh(big.NewInt(1), 255)),
	}
	hybrid := fixed(t, EncHPKEMLKEM768X25519).kemKey(t).PublicKey().Bytes()
	for name, u := range low {
		le := make([]byte, 32)
		u.FillBytes(le)
		for i, j := 0, 31; i < j; i, j = i+1, j-1 {
			le[i], le[j] = le[j], le[i]
		}
		refused(t, "X25519 "+name, hpkeJWK(32, le))
		copy(hybrid[len(hybrid)-32:], le)
		refused(t, "X-Wing with "+name, hpkeJWK(25722, hybrid))
	}
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseRecipient(hpkeJWK(32, k.PublicKey().Bytes())); err != nil {
		t.Error(err)
	}
}

// TestThumbprint pins RFC 7638 §3.1's example, whose e and n it takes.
func TestThumbprint(t *testing.T) {
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs" +
		"tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbI" +
		"SD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	r, err := ParseRecipient([]byte(`{"e":"AQAB","kid":"2011-04-29","n":"` + n + `","kty":"RSA"}`))
	if err != nil {
		t.Fatal(err)
	}
	sum := r.Thumbprint()
	if got := b64(sum[:]); got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" || r.KID() != "2011-04-29" || r.Alg() != EncRSA256 {
		t.Errorf("thumbprint %s, kid %s, alg %s", got, r.KID(), r.Alg())
	}
}

func FuzzParseRecipient(f *testing.F) {
	for _, name := range []string{EncHPKEP256, EncHPKEX25519, EncHPKEMLKEM768P256, "rsa2048-" + EncRSA256} {
		f.Add([]byte(fixed(f, name).JWK))
	}
	f.Add([]byte(`{"kty":"RSA","n":"AQAB","e":"AQAB","key_ops":"encrypt"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecipient(b)
		var e *Error
		if err != nil && (!errors.As(err, &e) || r != nil) {
			t.Fatalf("%v, %v", r, err)
		}
		if err == nil && (r.rsa == nil) == (r.hpke == nil) {
			t.Fatal("neither or both kinds of key")
		}
		if err == nil && r.Vet() != nil && r.rsa == nil {
			t.Fatal("a KEM key is weak")
		}
	})
}
