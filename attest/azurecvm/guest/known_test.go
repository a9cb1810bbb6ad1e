package guest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"testing"
	"time"

	"github.com/openskr/openskr/attest/azurecvm/simulated"
)

// TestKnown: what leads to a root over an intermediate is sent, in its time.
func TestKnown(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p, errP := simulated.New([32]byte{1})
	q, errQ := simulated.New([32]byte{2})
	if errP != nil || errQ != nil {
		t.Fatal(errP, errQ)
	}
	m, err := p.Report(&key.PublicKey, simulated.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(m.AKCertificate)
	if err != nil {
		t.Fatal(err)
	}
	one := func(c *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{c} }
	now := time.Unix(1790000000, 0)
	for name, c := range map[string]struct {
		leaf         *x509.Certificate
		roots, below []*x509.Certificate
		at           time.Time
		ok           bool
	}{
		"known":           {c, one(p.AKs.Root), one(p.AKs.Intermediate), now, true},
		"no intermediate": {c, one(p.AKs.Root), nil, now, false},
		"another root":    {c, one(q.AKs.Root), one(p.AKs.Intermediate), now, false},
		"expired":         {c, one(p.AKs.Root), one(p.AKs.Intermediate), c.NotAfter.Add(time.Second), false},
		"not yet valid":   {c, one(p.AKs.Root), one(p.AKs.Intermediate), c.NotBefore.Add(-time.Second), false},
	} {
		if err := known(c.leaf, c.roots, c.below, c.at); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
