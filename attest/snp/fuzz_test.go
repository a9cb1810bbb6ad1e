package snp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-sev-guest/verify/testdata"

	"github.com/openskr/openskr/attest"
)

func FuzzReport(f *testing.F) {
	f.Add(testdata.AttestationBytes)
	for _, version := range []byte{3, 5} {
		r := append([]byte(nil), testdata.AttestationBytes...)
		r[0], r[0x188] = version, 0x19
		f.Add(r)
	}
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReport(b)
		if err != nil {
			return
		}
		if len(b) != ReportSize || r.verify(&key.PublicKey) == nil {
			t.Error("accepted")
		}
		for _, line := range []string{Milan, Turin} {
			if tcbs, err := r.tcbs(line); err == nil {
				c := r.claims(&chain{leaf: &leaf{}, product: &Product{Name: line}}, tcbs)
				if c["x-ms-sevsnpvm-is-debuggable"] != (r.policy>>19&1 == 1) {
					t.Error("debug is misread")
				}
			}
		}
	})
}

func FuzzTable(f *testing.F) {
	entry := append([]byte(guidVCEK), 48, 0, 0, 0, 2, 0, 0, 0)
	f.Add(append(append(entry, make([]byte, 24)...), 0x30, 0))
	f.Add(make([]byte, 4096))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := parseTable(b)
		if err != nil {
			return
		}
		for _, e := range entries {
			if len(e) == 0 || len(e) > len(b) {
				t.Errorf("entry of %d bytes in a table of %d", len(e), len(b))
			}
		}
	})
}

func FuzzCertificates(f *testing.F) {
	f.Add(testdata.VcekBytes)
	f.Add(milanPEM)
	f.Fuzz(func(t *testing.T, b []byte) {
		bundle, err := newBundle([]attest.Endorsement{{Type: attest.EndorsementCertificate, Data: b}})
		if err == nil {
			err = bundle.parse()
		}
		if err == nil && (bundle.count == 0 || bundle.count > maxCerts) {
			t.Errorf("%d certificates", bundle.count)
		}
	})
}

// FuzzLeaf puts bytes into AMD's extensions of a certificate.
func FuzzLeaf(f *testing.F) {
	cert, err := x509.ParseCertificate(testdata.VcekBytes)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range cert.Extensions {
		f.Add(byte(e.Id[len(e.Id)-1]), e.Value)
	}
	f.Fuzz(func(t *testing.T, last byte, value []byte) {
		c := *cert
		c.Extensions = nil
		for _, e := range cert.Extensions {
			if byte(e.Id[len(e.Id)-1]) == last {
				e = pkix.Extension{Id: e.Id, Value: value}
			}
			c.Extensions = append(c.Extensions, e)
		}
		l, err := parseLeaf(&c)
		if err == nil && (l.key != VCEK || len(l.hwid) != hwidSize && l.line != Turin) {
			t.Errorf("%+v", l)
		}
	})
}

func FuzzCRL(f *testing.F) {
	ark, key := listIssuer(f)
	f.Add(newList(f, ark, key, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseCRL(b, ark); err == nil && (c.next.IsZero() || len(c.serials) > maxCRLEntries) {
			t.Errorf("%+v", c)
		}
	})
}

func FuzzProducts(f *testing.F) {
	f.Add(milanPEM)
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ParseProducts(b); err == nil && (len(p) != 1 || p[0].ARK == nil || p[0].ASK == nil) {
			t.Errorf("%+v", p)
		}
	})
}

func listIssuer(tb testing.TB) (*x509.Certificate, *ecdsa.PrivateKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ARK-Milan"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCRLSign | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert, key
}

func newList(tb testing.TB, ark *x509.Certificate, key *ecdsa.PrivateKey, change func(*x509.RevocationList)) []byte {
	tb.Helper()
	tmpl := &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Unix(1, 0), NextUpdate: time.Unix(2, 0),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(300), RevocationTime: time.Unix(1, 0)}},
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, ark, key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// TestPartialList: a list of changes or of some certificates only is no list, however
// well it is signed.
func TestPartialList(t *testing.T) {
	ark, key := listIssuer(t)
	for name, c := range map[string]struct {
		change func(*x509.RevocationList)
		ok     bool
	}{
		"whole": {nil, true},
		"of changes": {func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
		}, false},
		"number beyond 64 bits": {func(l *x509.RevocationList) { l.Number = new(big.Int).Lsh(big.NewInt(1), 64) }, false},
	} {
		got, err := parseCRL(newList(t, ark, key, c.change), ark)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (!got.has(big.NewInt(300)) || got.has(big.NewInt(301)) || got.has(new(big.Int))) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestLineOf pins which CPUs have which keys.
func TestLineOf(t *testing.T) {
	for cpu, want := range map[[2]byte]string{
		{0x19, 0x00}: Milan, {0x19, 0x01}: Milan, {0x19, 0x0f}: Milan, {0x19, 0x10}: Genoa, {0x19, 0x11}: Genoa, {0x19, 0x1f}: Genoa,
		{0x19, 0x20}: "", {0x19, 0x9f}: "", {0x19, 0xa0}: Genoa, {0x19, 0xaf}: Genoa, {0x19, 0xb0}: "",
		{0x1a, 0x00}: Turin, {0x1a, 0x02}: Turin, {0x1a, 0x11}: Turin, {0x1a, 0x20}: "", {0x17, 0x31}: "", {0, 0}: "",
	} {
		if got := lineOf(cpu[0], cpu[1]); got != want {
			t.Errorf("family %02x model %02x: %q, want %q", cpu[0], cpu[1], got, want)
		}
	}
}

// TestBounds: what is refused before anything expensive reads it.
func TestBounds(t *testing.T) {
	end := func(n int) []attest.Endorsement {
		return []attest.Endorsement{{Type: attest.EndorsementCertificate, Data: make([]byte, n)}}
	}
	if _, err := newBundle(end(maxEndorsement + 1)); err == nil {
		t.Error("an endorsement above its limit")
	}
	if _, err := newBundle(end(maxEndorsement)); err != nil {
		t.Error(err)
	}
	b := &bundle{count: maxCerts}
	if err := b.read([][]byte{testdata.VcekBytes}); err == nil {
		t.Error("a certificate above the limit")
	}
	one := append([]byte(guidVCEK), 72, 0, 0, 0, 1, 0, 0, 0)
	other := append([]byte(guidASK), 72, 0, 0, 0, 1, 0, 0, 0)
	inside := append([]byte(guidASK), 0, 0, 0, 0, 1, 0, 0, 0)
	for name, c := range map[string]struct {
		second []byte
		ok     bool
	}{"two kinds": {other, true}, "one kind twice": {one, false}, "an entry in the header": {inside, false}} {
		table := append(append(append([]byte(nil), one...), c.second...), make([]byte, entrySize+1)...)
		if _, err := parseTable(table); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	ca, err := x509.ParseCertificate(testdata.VcekBytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseLeaf(ca); err != nil {
		t.Error(err)
	}
	ca.IsCA = true
	if _, err := parseLeaf(ca); err == nil {
		t.Error("a CA is a leaf")
	}
}

// TestIssued: a signature counts only in the issuer's name.
func TestIssued(t *testing.T) {
	ark, _ := listIssuer(t)
	if err := issued(ark, ark); err != nil {
		t.Error(err)
	}
	renamed := *ark
	renamed.RawSubject = []byte("another")
	if issued(&renamed, ark) == nil {
		t.Error("issued in another's name")
	}
}
