package deployment

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"
)

// TestAnswerChain: the leaf is good for the authority with and without its port, as
// Microsoft's sidecar asks, under the CA that clients trust for TLS, and for no other.
func TestAnswerChain(t *testing.T) {
	a, err := newCA("test", time.Now(), forTLS)
	if err != nil {
		t.Fatal(err)
	}
	list, err := cas([]authority{a})
	if err != nil {
		t.Fatal(err)
	}
	d, now := &Deployment{TLSCAs: list}, time.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(list[0].Cert)
	for host, names := range map[string][]string{
		"kv1.vault.local:8443": {"kv1.vault.local", "kv1.vault.local:8443"},
		"kv1.vault.local":      {"kv1.vault.local"},
		"127.0.0.1:8443":       {"127.0.0.1", "127.0.0.1:8443"},
	} {
		chain, err := d.AnswerChain(key.Public(), host, now)
		if err != nil {
			t.Fatal(err)
		}
		if len(chain) != 2 || !chain[1].Equal(list[0].Cert) {
			t.Fatalf("%s: %d certificates, or another root", host, len(chain))
		}
		for _, n := range names {
			if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: n, CurrentTime: now}); err != nil {
				t.Errorf("%s: %v", n, err)
			}
		}
		if chain[0].VerifyHostname("kv2.vault.local") == nil || chain[0].VerifyHostname("kv1.vault.local:9000") == nil {
			t.Errorf("%s: good for another authority", host)
		}
	}
	if _, err := d.AnswerChain(key.Public(), "", now); err == nil {
		t.Error("a certificate for nobody")
	}
}
