package p256k

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func key(t testing.TB, d []byte) *PrivateKey {
	t.Helper()
	k, err := New(d)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// curve is the textbook (SEC 2 §2.4.1 and SEC 1 §4.1) over big numbers: slow,
// and independent of the library.
type curve struct{ p, n, gx, gy *big.Int }

func textbook() curve {
	num := func(s string) *big.Int { n, _ := new(big.Int).SetString(s, 16); return n }
	return curve{
		p:  num("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f"),
		n:  num("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"),
		gx: num("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"),
		gy: num("483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"),
	}
}

func (c curve) add(x1, y1, x2, y2 *big.Int) (x, y *big.Int) {
	switch {
	case x1 == nil:
		return x2, y2
	case x2 == nil:
		return x1, y1
	}
	num, den := new(big.Int).Sub(y2, y1), new(big.Int).Sub(x2, x1)
	if x1.Cmp(x2) == 0 {
		if y1.Cmp(y2) != 0 {
			return nil, nil
		}
		num.Mul(big.NewInt(3), new(big.Int).Mul(x1, x1))
		den.Lsh(y1, 1)
	}
	l := num.Mul(num, den.ModInverse(den.Mod(den, c.p), c.p))
	x = new(big.Int).Mul(l, l)
	x.Sub(x, x1).Sub(x, x2).Mod(x, c.p)
	y = new(big.Int).Sub(x1, x)
	y.Mul(y, l).Sub(y, y1).Mod(y, c.p)
	return x, y
}

func (c curve) mul(k, px, py *big.Int) (x, y *big.Int) {
	for i := k.BitLen() - 1; i >= 0; i-- {
		if x, y = c.add(x, y, x, y); k.Bit(i) == 1 {
			x, y = c.add(x, y, px, py)
		}
	}
	return x, y
}

// verify is SEC 1 §4.1.4.
func (c curve) verify(point, digest, signature []byte) bool {
	num := func(b []byte) *big.Int { return new(big.Int).SetBytes(b) }
	r, s := num(signature[:Size]), num(signature[Size:])
	if r.Sign() == 0 || s.Sign() == 0 || r.Cmp(c.n) >= 0 || s.Cmp(c.n) >= 0 {
		return false
	}
	w := new(big.Int).ModInverse(s, c.n)
	u1, u2 := new(big.Int).Mul(num(digest), w), new(big.Int).Mul(r, w)
	x1, y1 := c.mul(u1.Mod(u1, c.n), c.gx, c.gy)
	x2, y2 := c.mul(u2.Mod(u2, c.n), num(point[1:1+Size]), num(point[1+Size:]))
	x, _ := c.add(x1, y1, x2, y2)
	return x != nil && new(big.Int).Mod(x, c.n).Cmp(r) == 0
}

// high is the same signature with the other value of s.
func (c curve) high(signature []byte) []byte {
	s := new(big.Int).Sub(c.n, new(big.Int).SetBytes(signature[Size:]))
	return append(bytes.Clone(signature[:Size]), s.FillBytes(make([]byte, Size))...)
}

// Signatures of the textbook's nonce for well-known keys, as ledgers publish them.
func TestKnownSignatures(t *testing.T) {
	one := make([]byte, Size)
	one[Size-1] = 1
	order := textbook().n
	last := new(big.Int).Sub(order, big.NewInt(1)).Bytes()
	for _, c := range []struct {
		d          []byte
		text, want string
	}{
		{one, "Satoshi Nakamoto", "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d82442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"},
		{last, "Satoshi Nakamoto", "fd567d121db66e382991534ada77a6bd3106f0a1098c231e47993447cd6af2d06b39cd0eb1bc8603e159ef5c20a5c8ad685a45b06ce9bebed3f153d10d93bed5"},
	} {
		digest := sha256.Sum256([]byte(c.text))
		k := key(t, c.d)
		sig, err := k.Sign(digest[:])
		if err != nil || !bytes.Equal(sig, unhex(t, c.want)) {
			t.Errorf("%x: %x, %v", c.d, sig, err)
		}
		if !Verify(k.Public(), digest[:], sig) {
			t.Errorf("%x: its own signature is not valid", c.d)
		}
	}
}

// TestTextbook holds point and signatures against the slow arithmetic, which
// verifies as well what was changed.
func TestTextbook(t *testing.T) {
	c := textbook()
	for i := range 4 {
		k, err := Generate()
		if err != nil {
			t.Fatal(err)
		}
		d := k.scalar.Serialize()
		x, y := c.mul(new(big.Int).SetBytes(d), c.gx, c.gy)
		point := append(append([]byte{4}, x.FillBytes(make([]byte, Size))...), y.FillBytes(make([]byte, Size))...)
		if !bytes.Equal(point, k.Public()) {
			t.Fatalf("point %x, want %x", k.Public(), point)
		}
		digest := sha256.Sum256([]byte{byte(i)})
		sig, err := k.Sign(digest[:])
		if err != nil {
			t.Fatal(err)
		}
		s := new(big.Int).SetBytes(sig[Size:])
		if s.Cmp(new(big.Int).Rsh(c.n, 1)) > 0 {
			t.Errorf("s is the higher value: %x", sig)
		}
		if !c.verify(point, digest[:], sig) || !Verify(point, digest[:], sig) || !Verify(point, digest[:], c.high(sig)) {
			t.Errorf("%x is not valid", sig)
		}
		for bit := range 8 * SignatureSize {
			bad := bytes.Clone(sig)
			bad[bit/8] ^= 1 << (bit % 8)
			if Verify(point, digest[:], bad) {
				t.Errorf("valid with bit %d changed", bit)
			}
		}
	}
}

// Values at the borders (Wycheproof's ecdsa_secp256k1_sha256_p1363 has their like).
func TestBorders(t *testing.T) {
	c, k := textbook(), key(t, bytes.Repeat([]byte{7}, Size))
	digest := sha256.Sum256([]byte("x"))
	sig, err := k.Sign(digest[:])
	if err != nil {
		t.Fatal(err)
	}
	pad := func(n *big.Int) []byte { return n.FillBytes(make([]byte, Size)) }
	zero, one, order, prime := make([]byte, Size), pad(big.NewInt(1)), pad(c.n), pad(c.p)
	all := bytes.Repeat([]byte{255}, Size)
	for _, r := range [][]byte{zero, one, order, prime, all, sig[:Size]} {
		for _, s := range [][]byte{zero, one, order, prime, all, sig[Size:]} {
			candidate := append(bytes.Clone(r), s...)
			if got, want := Verify(k.Public(), digest[:], candidate), c.verify(k.Public(), digest[:], candidate); got != want {
				t.Errorf("%x: %v, textbook %v", candidate, got, want)
			}
		}
	}
	point := k.Public()
	twisted := bytes.Clone(point)
	twisted[2*Size] ^= 1 // not on the curve
	compressed := append([]byte{2 + point[2*Size]&1}, point[1:1+Size]...)
	hybrid := append([]byte{6 + point[2*Size]&1}, point[1:]...)
	for name, p := range map[string][]byte{"off the curve": twisted, "compressed": compressed, "hybrid": hybrid, "none": nil, "infinity": {0}, "long": append(bytes.Clone(point), 0)} {
		if Verify(p, digest[:], sig) {
			t.Errorf("point %s verifies", name)
		}
	}
	for name, v := range map[string][2][]byte{
		"short digest": {digest[1:], sig}, "long digest": {append(digest[:], 0), sig}, "no digest": {nil, sig},
		"short signature": {digest[:], sig[1:]}, "long signature": {digest[:], append(bytes.Clone(sig), 0)}, "no signature": {digest[:], nil},
	} {
		if Verify(point, v[0], v[1]) {
			t.Errorf("%s verifies", name)
		}
	}
	for name, d := range map[string][]byte{"zero": zero, "order": order, "above": all, "short": one[1:], "long": append([]byte{0}, one...), "none": nil} {
		if _, err := New(d); err == nil {
			t.Errorf("scalar %s is a key", name)
		}
	}
	if _, err := k.Sign(digest[1:]); err == nil {
		t.Error("31 bytes are signed")
	}
	k.Clear()
	if !bytes.Equal(k.scalar.Serialize(), zero) {
		t.Error("Clear leaves the scalar")
	}
}

// Numbers from the order up are refused, and not taken for what is left of them: a
// signature would have several forms. The point is made to fit a chosen R with a small
// coordinate (SEC 1 §4.1.6), since no search finds one.
func TestNothingIsReduced(t *testing.T) {
	c := textbook()
	x, y := new(big.Int), (*big.Int)(nil)
	for y == nil { // the first number that is a coordinate
		x.Add(x, big.NewInt(1))
		cube := new(big.Int).Exp(x, big.NewInt(3), c.p)
		y = new(big.Int).ModSqrt(cube.Add(cube, big.NewInt(7)), c.p)
	}
	digest, s := sha256.Sum256([]byte("x")), big.NewInt(5)
	e := new(big.Int).SetBytes(digest[:])
	x1, y1 := c.mul(s, x, y)
	x2, y2 := c.mul(new(big.Int).Mod(new(big.Int).Neg(e), c.n), c.gx, c.gy)
	qx, qy := c.add(x1, y1, x2, y2)
	qx, qy = c.mul(new(big.Int).ModInverse(x, c.n), qx, qy)
	pad := func(n *big.Int) []byte { return n.FillBytes(make([]byte, Size)) }
	point := append(append([]byte{4}, pad(qx)...), pad(qy)...)
	if !Verify(point, digest[:], append(pad(x), pad(s)...)) {
		t.Fatal("the construction is wrong")
	}
	more := func(n *big.Int) []byte { return pad(new(big.Int).Add(n, c.n)) }
	if Verify(point, digest[:], append(more(x), pad(s)...)) {
		t.Error("r and the order more is r")
	}
	if Verify(point, digest[:], append(pad(x), more(s)...)) {
		t.Error("s and the order more is s")
	}
}
