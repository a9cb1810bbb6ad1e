package p256k

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func der(t testing.TB, k *PrivateKey) []byte {
	t.Helper()
	b, err := k.PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDER(t *testing.T) {
	k := key(t, bytes.Repeat([]byte{9}, Size))
	good := der(t, k)
	back, err := ParsePKCS8(good)
	if err != nil || !bytes.Equal(back.Public(), k.Public()) {
		t.Fatalf("%v", err)
	}
	change := func(old, replaced []byte) []byte { return bytes.Replace(good, old, replaced, 1) }
	for name, b := range map[string][]byte{
		"empty": nil, "cut": good[:len(good)-1], "trailing": append(bytes.Clone(good), 0),
		"version 1":     change([]byte{2, 1, 0}, []byte{2, 1, 1}),
		"inner version": change([]byte{2, 1, 1, 4, 32}, []byte{2, 1, 2, 4, 32}),
		"another curve": change([]byte{0x2b, 0x81, 0x04, 0x00, 0x0a}, []byte{0x2b, 0x81, 0x04, 0x00, 0x22}),
		"another kind":  change([]byte{0x3d, 2, 1}, []byte{0x3d, 2, 2}),
		"scalar zero":   change(bytes.Repeat([]byte{9}, Size), make([]byte, Size)),
		"other scalar":  change(bytes.Repeat([]byte{9}, Size), bytes.Repeat([]byte{8}, Size)),
		"other point":   append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1),
	} {
		if bytes.Equal(b, good) {
			t.Fatalf("%s changed nothing", name)
		}
		if _, err := ParsePKCS8(b); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.MarshalPKCS8PrivateKey(p256)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePKCS8(other); err == nil {
		t.Error("a key on P-256 parsed")
	}
	sec1, err := x509.MarshalECPrivateKey(p256)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseSEC1(sec1); err == nil {
		t.Error("a SEC 1 key on P-256 parsed")
	}
}

// openssl runs it, or skips where it is not installed.
func openssl(t *testing.T, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	out, err := exec.Command("openssl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
	return out
}

// TestOpenSSL has another implementation at the other end: it reads our keys and
// signatures, and we read its.
func TestOpenSSL(t *testing.T) {
	file := func(name string) string { return filepath.Join(t.TempDir(), name) }
	theirs, ours, message, sigFile := file("theirs.pem"), file("ours.pem"), file("message"), file("signature")
	openssl(t, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1", "-out", theirs)
	sec1 := file("sec1.pem")
	openssl(t, "ec", "-in", theirs, "-out", sec1)
	k := fromPEM(t, theirs, ParsePKCS8)
	if !bytes.Equal(fromPEM(t, sec1, ParseSEC1).Public(), k.Public()) {
		t.Error("SEC 1 and PKCS #8 of one key differ")
	}
	if block, _ := pem.Decode(read(t, theirs)); !bytes.Equal(block.Bytes, der(t, k)) {
		t.Errorf("our DER of its key:\n%x\nits:\n%x", der(t, k), block.Bytes)
	}
	write(t, ours, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der(t, k)}))
	public := file("public.pem")
	openssl(t, "pkey", "-in", ours, "-check", "-noout")
	openssl(t, "pkey", "-in", ours, "-pubout", "-out", public)
	write(t, message, []byte("message"))
	digest := sha256.Sum256([]byte("message"))
	for range 4 {
		openssl(t, "dgst", "-sha256", "-sign", ours, "-out", sigFile, message)
		var sig struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(read(t, sigFile), &sig); err != nil {
			t.Fatal(err)
		}
		raw := append(sig.R.FillBytes(make([]byte, Size)), sig.S.FillBytes(make([]byte, Size))...)
		if !Verify(k.Public(), digest[:], raw) {
			t.Errorf("openssl's signature is not valid: %x", raw)
		}
	}
	raw, err := k.Sign(digest[:])
	if err != nil {
		t.Fatal(err)
	}
	asDER, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:Size]), new(big.Int).SetBytes(raw[Size:])})
	if err != nil {
		t.Fatal(err)
	}
	write(t, sigFile, asDER)
	openssl(t, "dgst", "-sha256", "-verify", public, "-signature", sigFile, message)
}

func fromPEM(t *testing.T, path string, parse func([]byte) (*PrivateKey, error)) *PrivateKey {
	t.Helper()
	block, _ := pem.Decode(read(t, path))
	k, err := parse(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// FuzzParse gives garbage to both parsers: what they take, they write and take again.
func FuzzParse(f *testing.F) {
	k := key(f, bytes.Repeat([]byte{9}, Size))
	good := der(f, k)
	f.Add(good)
	f.Add(good[26:]) // the ECPrivateKey within
	f.Add([]byte{0x30, 0x03, 2, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func([]byte) (*PrivateKey, error){ParsePKCS8, ParseSEC1} {
			k, err := parse(bytes.Clone(b))
			if err != nil {
				continue
			}
			again, err := ParsePKCS8(der(t, k))
			if err != nil || !bytes.Equal(again.Public(), k.Public()) {
				t.Errorf("%x: %v", b, err)
			}
		}
	})
}

// Which curve: each place that names one counts.
func TestCurveNames(t *testing.T) {
	d, other := bytes.Repeat([]byte{9}, Size), asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
	marshal := func(v any) []byte {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	sec1 := func(curve asn1.ObjectIdentifier) []byte {
		return marshal(ecPrivateKey{Version: 1, Key: d, Curve: curve})
	}
	outer := func(curve asn1.ObjectIdentifier, inner []byte) []byte {
		return marshal(privateKeyInfo{Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidPublicKey(), Parameters: asn1.RawValue{FullBytes: marshal(curve)}}, Key: inner})
	}
	for name, c := range map[string]struct {
		parse func([]byte) (*PrivateKey, error)
		der   []byte
		good  bool
	}{
		"SEC 1": {ParseSEC1, sec1(oidCurve()), true}, "SEC 1 on another": {ParseSEC1, sec1(other), false}, "SEC 1 without": {ParseSEC1, sec1(nil), false},
		"outside": {ParsePKCS8, outer(oidCurve(), sec1(nil)), true}, "both": {ParsePKCS8, outer(oidCurve(), sec1(oidCurve())), true},
		"another outside": {ParsePKCS8, outer(other, sec1(oidCurve())), false}, "another inside": {ParsePKCS8, outer(oidCurve(), sec1(other)), false},
	} {
		if _, err := c.parse(c.der); (err == nil) != c.good || !c.good && !errors.Is(err, ErrOther) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
