package deployment

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// leafOf takes the chain out of a JWS.
func chainIn(t *testing.T, jws string) []*x509.Certificate {
	t.Helper()
	part, _, _ := strings.Cut(jws, ".")
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	var h struct{ X5C [][]byte }
	if err := json.Unmarshal(raw, &h); err != nil {
		t.Fatal(err)
	}
	var out []*x509.Certificate
	for _, der := range h.X5C {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// TestAnswers: the leaf is good for the authority with and without its port, as
// Microsoft's sidecar asks, under the CA that clients trust for TLS.
func TestAnswers(t *testing.T) {
	d := answering(t)
	now := time.Now()
	a, err := d.NewAnswers(AnswerES256, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	verify := func(host string, names ...string) *x509.Certificate {
		t.Helper()
		jws, err := a.SignFor(host, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		chain := chainIn(t, jws)
		roots := x509.NewCertPool()
		roots.AddCert(d.TLSCAs[0].Cert)
		if len(chain) != 2 || !chain[1].Equal(d.TLSCAs[0].Cert) {
			t.Fatalf("%d certificates, or another root", len(chain))
		}
		for _, n := range names {
			if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: n, CurrentTime: now}); err != nil {
				t.Errorf("%s: %v", n, err)
			}
		}
		return chain[0]
	}
	first := verify("kv1.vault.local:8443", "kv1.vault.local", "kv1.vault.local:8443")
	verify("kv1.vault.local", "kv1.vault.local")
	verify("127.0.0.1:8443", "127.0.0.1", "127.0.0.1:8443")
	if first.VerifyHostname("kv2.vault.local") == nil || first.VerifyHostname("kv1.vault.local:9000") == nil {
		t.Error("good for another authority")
	}
	if again := verify("kv1.vault.local:8443"); !again.Equal(first) {
		t.Error("a certificate for every release")
	}
	now = now.Add(leafLife / 2)
	if later := verify("kv1.vault.local:8443"); later.Equal(first) {
		t.Error("a certificate is never renewed")
	}
	if _, err := d.NewAnswers("none", time.Now); err == nil {
		t.Error("a signature of no kind")
	}
}

func TestAnswersRS256(t *testing.T) {
	a, err := answering(t).NewAnswers(AnswerRS256, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	a.Warm()
	jws, err := a.SignFor("vault.local", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if leaf := chainIn(t, jws)[0]; leaf.PublicKeyAlgorithm != x509.RSA || leaf.CheckSignature(x509.SHA256WithRSA, []byte(jws[:strings.LastIndex(jws, ".")]), signature(t, jws)) != nil {
		t.Error("not verified under its leaf")
	}
}

func signature(t *testing.T, jws string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(jws[strings.LastIndex(jws, ".")+1:])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// answering is a deployment with nothing but a TLS CA.
func answering(t *testing.T) *Deployment {
	t.Helper()
	a, err := newCA("test", time.Now(), forTLS)
	if err != nil {
		t.Fatal(err)
	}
	list, err := cas([]authority{a})
	if err != nil {
		t.Fatal(err)
	}
	return &Deployment{TLSCAs: list}
}
