package dcap

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"

	"github.com/google/go-tdx-guest/testing/testdata"
)

// TestPlatformLevel: every SVN counts, and of a TDX module with levels of its own
// exactly the first two do not.
func TestPlatformLevel(t *testing.T) {
	raw := signedObject(t, testdata.TcbInfoBody, "tcbInfo")
	info, err := parseTCBInfo(raw, TDX)
	if err != nil {
		t.Fatal(err)
	}
	l := &info.Levels[len(info.Levels)-1]
	l.TCB.PCESVN = 11
	for i := range 16 {
		l.TCB.SGX[i].SVN, l.TCB.TDX[i].SVN = 2, 2
	}
	info.Levels = info.Levels[len(info.Levels)-1:]
	at := func(b byte) (out [16]byte) { return [16]byte(bytes.Repeat([]byte{b}, 16)) }
	covers := func(pce uint16, platform, tee [16]byte) bool {
		_, rej := info.platform(&PCK{Components: platform, PCESVN: pce}, tee[:])
		return rej == nil
	}
	if !covers(11, at(2), at(2)) || !covers(12, at(3), at(255)) || covers(10, at(255), at(255)) {
		t.Error("PCESVN, or SVNs that are equal or higher")
	}
	for i := range 16 {
		low := at(2)
		low[i] = 1
		if covers(11, low, at(2)) {
			t.Errorf("component %d below the level", i)
		}
		low = at(2)
		low[1], low[i] = 9, 1 // a module of major version 9, or for i = 1 of 1
		if got, want := covers(11, at(2), low), i < 2; got != want {
			t.Errorf("TDX component %d below the level: %v", i, got)
		}
		low[1] = 0
		if covers(11, at(2), low) {
			t.Errorf("TDX component %d below the level, module of major version 0", i)
		}
	}
}

// TestUnions: every union of flaws has a word, which hides none but the hardening of
// what is out of date.
func TestUnions(t *testing.T) {
	for f := range 2 * revoked {
		got, known := flawsOf(f.String())
		switch hidden := f &^ got; {
		case !known || got&^f != 0:
			t.Errorf("%04b is called %s", f, f)
		case f&revoked != 0:
			if got != revoked {
				t.Errorf("%04b is called %s", f, f)
			}
		case hidden != 0 && (hidden != hardening || f&outOfDate == 0):
			t.Errorf("%s hides %04b of %04b", f, hidden, f)
		}
	}
}

func TestOtherDocuments(t *testing.T) {
	tcb := signedObject(t, testdata.TcbInfoBody, "tcbInfo")
	for _, c := range [][2]string{{`"id":"TDX"`, `"id":"SGX"`}, {`"version":3`, `"version":2`}, {`"tcbType":0`, `"tcbType":1`}, {`"pceId":"0000"`, `"pceId":"00"`}} {
		other := bytes.Replace(tcb, []byte(c[0]), []byte(c[1]), 1)
		if _, err := parseTCBInfo(other, TDX); err == nil || bytes.Equal(other, tcb) {
			t.Errorf("%s: %v", c[1], err)
		}
	}
	qe := signedObject(t, testdata.QeIdentityBody, "enclaveIdentity")
	for _, c := range [][2]string{{`"id":"TD_QE"`, `"id":"QE"`}, {`"version":2`, `"version":1`}, {`"miscselect":"00000000"`, `"miscselect":"00"`}} {
		other := bytes.Replace(qe, []byte(c[0]), []byte(c[1]), 1)
		if _, err := parseQEIdentity(other, TDX); err == nil || bytes.Equal(other, qe) {
			t.Errorf("%s: %v", c[1], err)
		}
	}
}

// TestQEReport compares the QE report of a real quote with Intel's identity, and
// reports that differ in one field.
func TestQEReport(t *testing.T) {
	q, err := ParseQuote(TrimQuote(testdata.RawQuote))
	if err != nil {
		t.Fatal(err)
	}
	identity, err := parseQEIdentity(signedObject(t, testdata.QeIdentityBody, "enclaveIdentity"), TDX)
	if err != nil {
		t.Fatal(err)
	}
	if _, rej := identity.judge(q.qe.report); rej != nil {
		t.Fatal(rej)
	}
	for name, at := range map[string]int{"MISCSELECT": 16, "debug": 48, "attributes": 49, "MRSIGNER": 128, "ISVPRODID": 256} {
		report := bytes.Clone(q.qe.report)
		report[at] ^= 2
		if _, rej := identity.judge(report); rej == nil {
			t.Errorf("%s is not compared", name)
		}
	}
	report := bytes.Clone(q.qe.report)
	report[258], report[259] = 0, 0
	if _, rej := identity.judge(report); rej == nil {
		t.Error("ISVSVN is not compared")
	}
}

// TestCertificateRoles: certificates of the right chain in a role that is not theirs.
func TestCertificateRoles(t *testing.T) {
	leaf := &x509.Certificate{Subject: pkix.Name{CommonName: "Intel SGX TCB Signing"}}
	leaf.Extensions = []pkix.Extension{{Id: sgxOID(), Value: realExtension(t)}}
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "Intel SGX PCK Platform CA"}}
	if _, rej := readPCK(leaf, ca); rej == nil {
		t.Error("a TCB signing certificate as PCK")
	}
	leaf.Subject.CommonName = "Intel SGX PCK Certificate"
	leaf.IsCA = true
	if _, rej := readPCK(leaf, ca); rej == nil {
		t.Error("a CA as PCK")
	}
	e, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	q, err := ParseQuote(TrimQuote(testdata.RawQuote))
	if err != nil {
		t.Fatal(err)
	}
	certs, err := parsePEM(q.qe.chain, 3)
	if err != nil {
		t.Fatal(err)
	}
	chain := append(pemOf(certs[1]), pemOf(certs[2])...) // a genuine chain of the length that is wanted
	if _, rej := e.verifySigner(chain, certs[0].NotBefore.AddDate(0, 1, 0)); rej == nil {
		t.Error("a PCK CA signs TCB information")
	}
}
