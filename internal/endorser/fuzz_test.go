package endorser

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"testing"
	"time"

	sevdata "github.com/google/go-sev-guest/verify/testdata"
	tdxdata "github.com/google/go-tdx-guest/testing/testdata"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/internal/strict"
)

func FuzzCollateral(f *testing.F) {
	f.Add(tdxdata.TcbInfoBody, "tcb.json")
	f.Add(tdxdata.QeIdentityBody, "qe.json")
	f.Add(tdxdata.PckCrlBody, "pck.crl")
	f.Add(sevdata.VcekBytes, "vcek.der")
	f.Add(intelPEM, "intel.pem")
	f.Add([]byte(`{"tcb_info":"{\"id\":\"TDX\",\"fmspc\":\"00\"}","tcb_info_signature":"00","tcb_info_issuer_chain":"","root_ca_crl":"30"}`), "b")
	f.Add([]byte(`{"v":1,"kind":"amd-crl","id":"vlek/Turin","data":"e30","chain":"x","fetched":"2026-01-01T00:00:00Z"}`), "e")
	f.Fuzz(func(_ *testing.T, b []byte, path string) {
		c := collector{docs: map[attest.Need]*found{}}
		_, _ = c.add(intelPEM, "")
		if known, err := c.add(b, path); !known && err == nil && len(c.docs) > 0 {
			panic("a document out of nothing")
		}
		for need, doc := range c.finish() {
			if doc == nil || len(doc.Chain) > 2*maxFile {
				panic(need)
			}
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(`{"v":1,"kind":"amd-crl","id":"vlek/Turin","data":"e30","chain":"x","fetched":"2026-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		need, doc, err := decodeEnvelope(b, 1<<16)
		if err != nil {
			return
		}
		again, err := strict.Marshal(envelope{1, need.Kind, need.ID, doc.Data, string(doc.Chain), doc.Fetched})
		if err != nil {
			t.Skip() // a year that RFC 3339 cannot write
		}
		need2, doc2, err := decodeEnvelope(again, 1<<20)
		if err != nil || need2 != need || !same(doc, doc2) || !doc.Fetched.Equal(doc2.Fetched) {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add("-----BEGIN%20CERTIFICATE-----%0AMAA%2B%0A-----END%20CERTIFICATE-----%0A", `{"issuer":"i","jwks_uri":"https://a.example/k"}`, "120")
	f.Add("-----BEGIN+CERTIFICATE-----%0AMAA%2B%0A-----END+CERTIFICATE-----%0A", `{"keys":[{"kty":"EC"}]}`, "Wed, 21 Oct 2026 07:28:00 GMT")
	f.Fuzz(func(t *testing.T, header, body, retry string) {
		h := http.Header{}
		h.Set("Tcb-Info-Issuer-Chain", header)
		if chain, err := chainOf(h, []string{"Tcb-Info-Issuer-Chain"}); err == nil && (len(chain) == 0 || len(chain) > maxChain) {
			t.Errorf("chain of %d bytes", len(chain))
		}
		if keys, err := keysAddress([]byte(body), "i", "https://b.example/x"); err == nil {
			if _, err := base(keys, true); err != nil {
				t.Error(err)
			}
		}
		_ = checkKeySet([]byte(body))
		if d := retryAfter(retry, time.Unix(0, 0)); d < 0 {
			t.Errorf("retry after %v", d)
		}
	})
}

// The certificates that ship with the program are those whose fingerprints stand
// beside them, and each chains to the last.
func TestIntelCertificates(t *testing.T) {
	rest, n := intelPEM, 0
	roots, certs := x509.NewCertPool(), []*x509.Certificate(nil)
	for {
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		sum := sha256.Sum256(block.Bytes)
		text := rest[:len(rest)-len(after)]
		if !bytes.Contains(text, []byte("\n"+hex.EncodeToString(sum[:])+"\n")) {
			t.Errorf("certificate %d: fingerprint %x is not the one beside it", n, sum)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certs, rest, n = append(certs, c), after, n+1
	}
	if n != 5 {
		t.Fatalf("%d certificates, want 5", n)
	}
	roots.AddCert(certs[n-1])
	for _, c := range certs {
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: c.NotBefore.Add(time.Hour), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Errorf("%s: %v", c.Subject.CommonName, err)
		}
	}
}
