package keyvault

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"testing"

	"github.com/openskr/openskr/release"
)

// TestUnpad says what every last block must give, and finds every padding there is.
func TestUnpad(t *testing.T) {
	for pad := range 256 {
		for wrong := -1; wrong < aes.BlockSize; wrong++ {
			buf := bytes.Repeat([]byte{0xee}, 2*aes.BlockSize)
			for i := range min(pad, aes.BlockSize) {
				buf[len(buf)-1-i] = byte(pad)
			}
			buf[len(buf)-1] = byte(pad)
			if wrong >= 0 {
				buf[len(buf)-1-wrong] ^= 0x80
			}
			said := int(buf[len(buf)-1])
			good := said >= 1 && said <= aes.BlockSize && bytes.Count(buf[len(buf)-min(said, aes.BlockSize):], []byte{byte(said)}) == said
			n, ok := unpad(buf)
			if (ok == 1) != good || good && n != len(buf)-said || !good && n != len(buf) {
				t.Errorf("padding %d with byte %d wrong: %d, %d", pad, wrong, n, ok)
			}
		}
	}
}

// outcome is all that a caller or a bystander can see of a decryption: its error's
// reason and text, and how much was allocated for it.
type outcome struct {
	reason release.Reason
	text   string
	allocs float64
}

func observe(a algorithm, key []byte, in Operation) outcome {
	var o outcome
	o.allocs = testing.AllocsPerRun(20, func() {
		if err := a.cbc(key, in, &Outcome{}); err != nil {
			o.reason, o.text = release.ReasonOf(err), err.Error()
		}
	})
	return o
}

// TestCBCPadOneAnswer: whatever is wrong with the padding, and wherever, is one answer.
func TestCBCPadOneAnswer(t *testing.T) {
	key, iv := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, aes.BlockSize)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	a := algorithms()["A256CBCPAD"]
	seal := func(plain []byte) Operation {
		buf := bytes.Clone(plain)
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(buf, buf)
		return Operation{Op: OpDecrypt, Value: buf, IV: iv}
	}
	ending := func(tail ...byte) []byte { return append(make([]byte, 2*aes.BlockSize-len(tail)), tail...) }
	want := observe(a, key, seal(ending(0)))
	if want.reason != release.ReasonDecryption {
		t.Fatalf("%+v", want)
	}
	for name, plain := range map[string][]byte{
		"17": ending(17), "255": ending(255), "first of two": ending(3, 2), "first of three": ending(2, 3, 3),
		"first of sixteen": append(ending(), append([]byte{15}, bytes.Repeat([]byte{16}, 15)...)...),
		"middle":           append(ending(), append(bytes.Repeat([]byte{16}, 8), append([]byte{1}, bytes.Repeat([]byte{16}, 7)...)...)...),
		"128":              ending(bytes.Repeat([]byte{128}, 16)...),
	} {
		if got := observe(a, key, seal(plain)); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	var out Outcome
	if err := a.cbc(key, seal(ending(1)), &out); err != nil || len(out.Value) != 31 {
		t.Errorf("%d bytes, %v", len(out.Value), err)
	}
	for _, n := range []int{1, 15, 17, 31} { // by its length no ciphertext
		if err := a.cbc(key, Operation{Op: OpDecrypt, Value: make([]byte, n), IV: iv}, &out); err == nil || err.Error() != want.text {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func privateKey(t testing.TB) (*rsa.PrivateKey, []byte) {
	t.Helper()
	k := rsaKey(t)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return k, der
}

// TestPKCS1OneAnswer: a ciphertext with wrong padding opens, always to the same bytes,
// which another key does not give, and costs what a good one costs.
func TestPKCS1OneAnswer(t *testing.T) {
	k, der := privateKey(t)
	_, otherDER := privateKey(t)
	//lint:ignore SA1019 it is what is tested
	good, err := rsa.EncryptPKCS1v15(rand.Reader, &k.PublicKey, []byte("session key"))
	if err != nil {
		t.Fatal(err)
	}
	bad := append([]byte{0}, bytes.Repeat([]byte{0x5a}, k.Size()-1)...)
	//lint:ignore SA1019 it is what is tested
	if _, err := rsa.DecryptPKCS1v15(nil, k, bad); err == nil {
		t.Fatal("padded by chance")
	}
	open := func(der, c []byte) []byte {
		t.Helper()
		p, err := openPKCS1(k, der, c)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if got := open(der, good); string(got) != "session key" {
		t.Errorf("%q", got)
	}
	first := open(der, bad)
	if !bytes.Equal(first, open(der, bad)) {
		t.Error("the second answer differs: asking twice tells")
	}
	if bytes.Equal(first, open(otherDER, bad)) {
		t.Error("the answer does not depend on the key: anybody can tell")
	}
	allocs := func(c []byte) float64 {
		return testing.AllocsPerRun(20, func() { openPKCS1(k, der, c) }) //nolint:errcheck // seen above
	}
	if g, b := allocs(good), allocs(bad); g != b {
		t.Errorf("a good one costs %v allocations, a bad one %v", g, b)
	}
	lengths := map[int]bool{}
	for i := range 64 {
		bad[10] = byte(i)
		p := open(der, bad)
		lengths[len(p)] = true
		if len(p) > maxPKCS1(k.Size()) {
			t.Errorf("%d bytes, more than any plaintext", len(p))
		}
	}
	if len(lengths) < 32 {
		t.Errorf("%d lengths in 64 answers", len(lengths))
	}
	modulus := k.N.Bytes()
	for name, c := range map[string][]byte{"empty": nil, "short": good[1:], "long": append([]byte{0}, good...), "modulus": modulus, "ones": bytes.Repeat([]byte{255}, k.Size())} {
		if _, err := openPKCS1(k, der, c); release.ReasonOf(err) != release.ReasonDecryption {
			t.Errorf("%s: %v", name, err)
		}
	}
	below := slices.Clone(modulus)
	below[len(below)-1]-- // odd, so nothing is borrowed
	open(der, below)
}
