package snp

import (
	"slices"
	"testing"
)

// TestCertificateAlone: of certificates that come together each has memory of its own,
// so that a stranger who sends public ones with a lot beside them cannot have the cache
// of chains keep it.
func TestCertificateAlone(t *testing.T) {
	products, err := AMD()
	if err != nil {
		t.Fatal(err)
	}
	p := products[0]
	certs, err := parseCertificates(slices.Concat(p.ASK.Raw, p.ARK.Raw, p.ASVK.Raw))
	if err != nil || len(certs) != 3 {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	for i, c := range certs {
		if n := len(c.Raw); cap(c.Raw) > n+n/4 {
			t.Errorf("certificate %d of %d bytes keeps %d", i, n, cap(c.Raw))
		}
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "cut": p.ASK.Raw[:len(p.ASK.Raw)-1], "text behind": append(slices.Clone(p.ASK.Raw), 'x'),
		"another thing behind": append(slices.Clone(p.ASK.Raw), 0x30, 0),
	} {
		if _, err := parseCertificates(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
