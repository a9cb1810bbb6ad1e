package uki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestSigned lets osslsigncode sign an image and say which digest it signed: the
// one that firmware measures.
func TestSigned(t *testing.T) {
	tool, err := exec.LookPath("osslsigncode")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "t"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	image, _ := sample(t, "252.1")
	in, out := filepath.Join(dir, "in.efi"), filepath.Join(dir, "out.efi")
	for path, b := range map[string][]byte{
		in: image, filepath.Join(dir, "c.pem"): pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		filepath.Join(dir, "k.pem"): pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sign := exec.Command(tool, "sign", "-h", "sha256", "-certs", "c.pem", "-key", "k.pem", "-in", in, "-out", out)
	sign.Dir = dir
	if text, err := sign.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	verify := exec.Command(tool, "verify", "-CAfile", "c.pem", "-in", out)
	verify.Dir = dir
	text, _ := verify.CombinedOutput() // its verdict on a self-signed certificate is not asked for
	m := regexp.MustCompile(`Calculated message digest *: *([0-9A-F]{64})`).FindSubmatch(text)
	if m == nil {
		t.Skipf("no digest in %s", text)
	}
	signed, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Authenticode(signed, crypto.SHA256)
	if err != nil || hex.EncodeToString(got) != strings.ToLower(string(m[1])) {
		t.Errorf("%x, %v; osslsigncode says %s", got, err, m[1])
	}
	unsigned, err := Authenticode(image, crypto.SHA256)
	if err != nil || !bytes.Equal(unsigned, got) {
		t.Errorf("signed %x, before %x: %v", got, unsigned, err)
	}
	if i := parse(t, signed); i.Stub != "252.1" {
		t.Error("a signed image is another one")
	}
}
