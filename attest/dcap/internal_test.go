package dcap

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-tdx-guest/testing/testdata"

	"github.com/openskr/openskr/attest"
)

// realExtension is the SGX extension of the PCK of a real quote, from go-tdx-guest.
func realExtension(t testing.TB) []byte {
	t.Helper()
	q, err := ParseQuote(TrimQuote(testdata.RawQuote))
	if err != nil {
		t.Fatal(err)
	}
	certs, err := parsePEM(q.qe.chain, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range certs[0].Extensions {
		if e.Id.Equal(sgxOID()) {
			return e.Value
		}
	}
	t.Fatal("no SGX extension")
	return nil
}

func TestExtension(t *testing.T) {
	der := realExtension(t)
	p, err := parseExtension(der)
	if err != nil || p.FMSPCHex() != "50806f000000" || p.PCESVN != 11 || p.Components != [16]byte{3, 3, 2, 2, 2, 1, 0, 2} || zero(p.PPID[:]) || zero(p.InstanceID[:]) {
		t.Fatalf("%+v, %v", p, err)
	}
	for n := range der {
		if _, err := parseExtension(der[:n]); err == nil {
			t.Fatalf("cut to %d of %d bytes", n, len(der))
		}
	}
	var list []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &list); err != nil {
		t.Fatal(err)
	}
	marshal := func(list ...asn1.RawValue) []byte {
		b, err := asn1.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for i := range list {
		without := append(append([]asn1.RawValue{}, list[:i]...), list[i+1:]...)
		if _, err := parseExtension(marshal(without...)); (err == nil) != (i >= 4) {
			t.Errorf("without member %d: %v", i+1, err)
		}
		if _, err := parseExtension(marshal(append(without, list[i], list[i])...)); err == nil {
			t.Errorf("member %d twice: taken", i+1)
		}
	}
	if _, err := parseExtension(append(bytes.Clone(der), 0)); err == nil {
		t.Error("a byte behind: taken")
	}
	other := bytes.Replace(der, []byte{0xf8, 0x4d, 0x01, 0x0d, 0x01, 0x04}, []byte{0xf8, 0x4d, 0x01, 0x0e, 0x01, 0x04}, 1)
	if _, err := parseExtension(other); err == nil {
		t.Error("a member of another tree: taken")
	}
	big := bytes.Replace(der, []byte{0x02, 0x11, 0x02, 0x01, 0x0b}, []byte{0x02, 0x11, 0x02, 0x01, 0x8b}, 1)
	if _, err := parseExtension(big); bytes.Equal(big, der) || err == nil {
		t.Error("a negative PCESVN: taken")
	}
}

// TestPath: a leaf issues nothing, and a chain has the length it must have (security
// CC-17).
func TestPath(t *testing.T) {
	key, now := onCurve(t, elliptic.P256()), time.Now()
	issue := func(name string, isCA bool, parent *x509.Certificate) *x509.Certificate {
		return certificate(t, name, isCA, key, parent, key)
	}
	root := issue("root", true, nil)
	ca, leaf := issue("ca", true, root), issue("leaf", false, root)
	a := anchors{root}
	for name, c := range map[string]struct {
		chain []*x509.Certificate
		ok    bool
	}{
		"chain":                  {[]*x509.Certificate{issue("x", false, ca), ca, root}, true},
		"the root issued anew":   {[]*x509.Certificate{issue("x", false, ca), ca, issue("root", true, root)}, true},
		"issued by a leaf":       {[]*x509.Certificate{issue("x", false, leaf), leaf, root}, false},
		"one step too short":     {[]*x509.Certificate{issue("x", false, root), ca, root}, false},
		"root of the same name":  {[]*x509.Certificate{issue("x", false, ca), ca, fake(t, root)}, false},
		"the root is no CA here": {[]*x509.Certificate{issue("x", false, ca), ca, leaf}, false},
	} {
		if _, _, _, rej := a.verify(c.chain, now); (rej == nil) != c.ok || rej != nil && rej.Check != attest.CheckChainUntrusted {
			t.Errorf("%s: %v", name, rej)
		}
	}
	if _, _, _, rej := a.verify([]*x509.Certificate{ca, root}, now.Add(2*time.Hour)); rej == nil || rej.Check != attest.CheckChainExpired {
		t.Errorf("late: %v", rej)
	}
}

// fake is a certificate with subject and key id of c and another key.
func fake(t *testing.T, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	key := onCurve(t, elliptic.P256())
	self := *c
	self.PublicKey = nil // CreateCertificate compares it with the key
	der, err := x509.CreateCertificate(rand.Reader, &self, &self, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func FuzzExtension(f *testing.F) {
	f.Add(realExtension(f))
	f.Fuzz(func(t *testing.T, der []byte) {
		if p, err := parseExtension(der); err == nil && p == nil {
			t.Fatal("nothing read")
		}
	})
}

func FuzzPEM(f *testing.F) {
	f.Add(intelRootPEM)
	f.Add(append(bytes.Clone(intelRootPEM), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		certs, err := parsePEM(b, 1)
		if err != nil {
			return
		}
		if want := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certs[0].Raw}); !bytes.HasPrefix(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), want[:len(want)-1]) {
			t.Fatalf("%q", b)
		}
	})
}

// signedObject gives the inner object of a real document of go-tdx-guest.
func signedObject(t testing.TB, doc []byte, name string) []byte {
	t.Helper()
	i := bytes.Index(doc, []byte(`{"`+name+`":`))
	j := bytes.LastIndex(doc, []byte(`,"signature"`))
	if i != 0 || j < 0 {
		t.Fatalf("%.60s", doc)
	}
	return doc[len(name)+4 : j]
}

func FuzzTCBInfo(f *testing.F) {
	f.Add(signedObject(f, testdata.TcbInfoBody, "tcbInfo"))
	if dir := os.Getenv("OPENSKR_VECTORS"); dir != "" {
		if b, err := os.ReadFile(filepath.Join(dir, "tdx-10-lunal-live/tcb_info_90c06f000000.json")); err == nil {
			f.Add(signedObject(f, b, "tcbInfo"))
		}
	}
	pck := &PCK{Components: [16]byte{3, 3, 2, 2, 4, 1, 0, 5}, PCESVN: 11}
	f.Fuzz(func(t *testing.T, raw []byte) {
		info, err := parseTCBInfo(raw, TDX)
		if err != nil {
			return
		}
		body := make([]byte, td10)
		for _, svn := range [][]byte{{5, 0, 2}, {6, 1, 3}, {255, 255, 255}} {
			copy(body, svn)
			if g, rej := info.platform(pck, body[:16]); (g == nil) == (rej == nil) {
				t.Fatal("neither level nor refusal")
			}
			_, _ = info.module(body)
		}
	})
}

func FuzzQEIdentity(f *testing.F) {
	f.Add(signedObject(f, testdata.QeIdentityBody, "enclaveIdentity"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		qe, err := parseQEIdentity(raw, TDX)
		if err != nil {
			return
		}
		if g, rej := qe.judge(make([]byte, enclaveReport)); (g == nil) == (rej == nil) {
			t.Fatal("neither level nor refusal")
		}
	})
}

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
