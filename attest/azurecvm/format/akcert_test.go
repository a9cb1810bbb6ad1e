package format_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"testing"
	"time"

	"github.com/openskr/openskr/attest/azurecvm/format"
)

// TestMicrosoft compares the pinned certificates with the fingerprints in the source,
// and verifies the one under the other while both are valid.
func TestMicrosoft(t *testing.T) {
	roots, intermediates, err := format.Microsoft()
	if err != nil || len(roots) != 1 || len(intermediates) != 1 {
		t.Fatalf("%d roots, %d intermediates, %v", len(roots), len(intermediates), err)
	}
	for c, want := range map[*x509.Certificate]string{
		roots[0]:         "e6c596b17f8ffefba5c300f714cfb1260c6028704ecf7becc4ab5018efb00e95",
		intermediates[0]: "fd7c92dabce4dcec9feaa30f8b087ada0598413189182152b881f5564064a29c",
	} {
		d := sha256.Sum256(c.Raw)
		if got := hex.EncodeToString(d[:]); got != want {
			t.Errorf("%s: fingerprint %s, want %s", c.Subject, got, want)
		}
		if err := c.CheckSignatureFrom(roots[0]); err != nil {
			t.Errorf("%s: %v", c.Subject, err)
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(roots[0])
	for day, ok := range map[string]bool{"2025-04-24": false, "2025-04-25": true, "2026-11-22": true, "2027-04-24": true, "2027-04-25": false} {
		at, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		_, err = intermediates[0].Verify(x509.VerifyOptions{Roots: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if (err == nil) != ok {
			t.Errorf("%s: %v", day, err)
		}
	}
}

func TestParseAKCertificate(t *testing.T) {
	_, intermediates, err := format.Microsoft()
	if err != nil {
		t.Fatal(err)
	}
	der := intermediates[0].Raw
	pad := func(n int, with byte) []byte { return append(bytes.Clone(der), bytes.Repeat([]byte{with}, n)...) }
	for name, c := range map[string]struct {
		nv []byte
		ok bool
	}{
		"as it is": {der, true}, "zeros": {pad(100, 0), true}, "ones": {pad(100, 0xff), true},
		"something behind": {pad(1, 1), false}, "another behind": {append(bytes.Clone(der), der...), false}, "cut": {der[:len(der)-1], false},
		"empty": {nil, false}, "no certificate": {[]byte{0x30, 0}, false}, "too long": {pad(format.MaxAKCertificate, 0), false},
	} {
		got, err := format.ParseAKCertificate(c.nv)
		if (err == nil) != c.ok || c.ok && !got.Equal(intermediates[0]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckAKCertificate(t *testing.T) {
	aik, ek := asn1.ObjectIdentifier{2, 23, 133, 8, 3}, asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	document := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 10, 3, 12} // real ones have it too
	for name, c := range map[string]struct {
		cert x509.Certificate
		ok   bool
	}{
		"real":           {x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, UnknownExtKeyUsage: []asn1.ObjectIdentifier{document, aik}}, true},
		"no key usage":   {x509.Certificate{UnknownExtKeyUsage: []asn1.ObjectIdentifier{aik}}, true},
		"no purpose":     {x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature}, false},
		"of an EK":       {x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, UnknownExtKeyUsage: []asn1.ObjectIdentifier{ek}}, false},
		"for encryption": {x509.Certificate{KeyUsage: x509.KeyUsageKeyEncipherment, UnknownExtKeyUsage: []asn1.ObjectIdentifier{aik}}, false},
		"a CA":           {x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageDigitalSignature, UnknownExtKeyUsage: []asn1.ObjectIdentifier{ek, aik}}, false},
	} {
		if err := format.CheckAKCertificate(&c.cert); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseAKCertificate(f *testing.F) {
	_, intermediates, err := format.Microsoft()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(intermediates[0].Raw)
	f.Add(append(bytes.Clone(intermediates[0].Raw), 0, 0, 0xff))
	f.Add([]byte{0x30, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, nv []byte) {
		if c, err := format.ParseAKCertificate(nv); err == nil && !bytes.HasPrefix(nv, c.Raw) {
			t.Fatal("a certificate that is not there")
		}
	})
}
