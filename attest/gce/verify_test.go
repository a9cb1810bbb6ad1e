package gce_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/gce"
	"github.com/openskr/openskr/attest/gce/format"
)

func TestSound(t *testing.T) {
	c := newCloud(t)
	res, err := verifier(t, c.config()).Verify(t.Context(), c.evidence(t), attest.Expect{At: now})
	if err != nil {
		t.Fatal(err)
	}
	want := attest.Facts{
		Chain: true, Signature: true, Bound: true, Recipient: true, Resident: true, Revocation: attest.Checked, Freshness: attest.Checked,
		ResetCount: 7,
	}
	if res.Facts != want || res.Type != attest.TypeGCE || res.Authority != "CN=cloud root" || len(res.Recipient) == 0 {
		t.Errorf("%+v", res)
	}
	for name, v := range map[string]any{
		"project_id": "example.com:project", "project_number": "42", "zone": "us-central1-a", "instance_id": "4242",
		"instance_name": "web-1", "security_version": "3",
	} {
		if got := res.Claims["gce"].(map[string]any)[name]; got != v {
			t.Errorf("gce.%s is %v, want %v", name, got, v)
		}
	}
	if _, ok := res.Claims["snp"]; ok {
		t.Error("claims of hardware that has no part")
	}
	// An intermediate that the deployment configures need not be sent.
	cfg, ev := c.config(), c.evidence(t)
	cfg.Intermediates, ev.Endorsements = []*x509.Certificate{c.intermediate}, ev.Endorsements[:1]
	if _, err := verifier(t, cfg).Verify(t.Context(), ev, attest.Expect{At: now}); err != nil {
		t.Error(err)
	}
}

func TestNoDenyList(t *testing.T) {
	c := newCloud(t)
	cfg := c.config()
	cfg.Denied = nil
	res, err := verifier(t, cfg).Verify(t.Context(), c.evidence(t), attest.Expect{At: now})
	if err != nil || res.Facts.Revocation != attest.NotChecked {
		t.Fatalf("%+v, %v", res, err)
	}
	id := res.Identity.ID
	for _, name := range []string{"42/us-central1-a/4242", id} {
		cfg.Denied = func(s string) bool { return s == name }
		_, err = verifier(t, cfg).Verify(t.Context(), c.evidence(t), attest.Expect{At: now})
		wantCheck(t, err, attest.CheckPlatformDenied, true)
	}
}

// TestAKCertificate holds certificates against the profile, one change each.
func TestAKCertificate(t *testing.T) {
	c := newCloud(t)
	v := verifier(t, c.config())
	instance := func(change func(*instanceInfo)) func(*x509.Certificate) {
		return func(x *x509.Certificate) {
			x.ExtraExtensions = []pkix.Extension{{Id: oidInstance, Value: info(change)}}
		}
	}
	for name, tc := range map[string]struct {
		change func(*x509.Certificate)
		want   attest.Check
	}{
		"no extended key usage": {func(x *x509.Certificate) { x.UnknownExtKeyUsage = nil }, ""},
		"TLS":                   {func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, attest.CheckAKNotTrusted},
		"another key usage":     {func(x *x509.Certificate) { x.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }, attest.CheckAKNotTrusted},
		"of an EK":              {func(x *x509.Certificate) { x.KeyUsage = x509.KeyUsageKeyEncipherment }, attest.CheckAKNotTrusted},
		"for both":              {func(x *x509.Certificate) { x.KeyUsage |= x509.KeyUsageKeyEncipherment }, attest.CheckAKNotTrusted},
		"no key usage":          {func(x *x509.Certificate) { x.KeyUsage = 0 }, attest.CheckAKNotTrusted},
		"a CA":                  {func(x *x509.Certificate) { x.IsCA = true }, attest.CheckAKNotTrusted},
		"no instance":           {func(x *x509.Certificate) { x.ExtraExtensions = nil }, attest.CheckAKNotTrusted},
		"instance unreadable":   {func(x *x509.Certificate) { x.ExtraExtensions[0].Value = []byte{0x30, 0} }, attest.CheckAKNotTrusted},
		"not of production":     {instance(func(i *instanceInfo) { i.Security.P = false }), attest.CheckDebug},
		"instance id negative":  {instance(func(i *instanceInfo) { i.ID = -1 }), attest.CheckAKNotTrusted},
		"zone with a separator": {instance(func(i *instanceInfo) { i.Zone = "us/a" }), attest.CheckAKNotTrusted},
		"unknown critical": {func(x *x509.Certificate) {
			x.ExtraExtensions = append(x.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}, attest.CheckChainUntrusted},
		"expired":         {func(x *x509.Certificate) { x.NotAfter = now.Add(-time.Second) }, attest.CheckChainExpired},
		"not yet valid":   {func(x *x509.Certificate) { x.NotBefore = now.Add(time.Second) }, attest.CheckChainExpired},
		"a hundred years": {func(x *x509.Certificate) { x.NotAfter = now.AddDate(100, 0, 0) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ev := c.evidence(t)
			ev.Endorsements = c.endorsements(c.certify(t, tc.change))
			_, err := v.Verify(t.Context(), ev, attest.Expect{At: now})
			if tc.want != "" {
				wantCheck(t, err, tc.want, false)
			} else if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestChain is CC-17 to CC-19: who may sign an AK certificate.
func TestChain(t *testing.T) {
	c := newCloud(t)
	v := verifier(t, c.config())
	verify := func(t *testing.T, want attest.Check, ends ...attest.Endorsement) {
		t.Helper()
		ev := c.evidence(t)
		ev.Endorsements = ends
		_, err := v.Verify(t.Context(), ev, attest.Expect{At: now})
		wantCheck(t, err, want, false)
	}
	ak := attest.Endorsement{Type: attest.EndorsementAKCertificate, Data: c.certify(t)}
	extra := func(c *x509.Certificate) attest.Endorsement {
		return attest.Endorsement{Type: attest.EndorsementCertificate, Data: c.Raw}
	}
	t.Run("none", func(t *testing.T) { verify(t, attest.CheckAKNotTrusted) })
	t.Run("intermediate alone", func(t *testing.T) { verify(t, attest.CheckAKNotTrusted, extra(c.intermediate)) })
	t.Run("no intermediate", func(t *testing.T) { verify(t, attest.CheckChainUntrusted, ak) })
	t.Run("two AK certificates", func(t *testing.T) { verify(t, attest.CheckMalformed, ak, ak, extra(c.intermediate)) })
	t.Run("nine endorsements", func(t *testing.T) {
		verify(t, attest.CheckMalformed, append([]attest.Endorsement{ak}, make([]attest.Endorsement, 8)...)...)
	})
	t.Run("a hundred certificates", func(t *testing.T) {
		var all []byte
		for range 100 {
			x, _ := ca(t, "one of many", nil, nil)
			all = append(all, x.Raw...)
		}
		verify(t, attest.CheckMalformed, ak, attest.Endorsement{Type: attest.EndorsementCertificate, Data: all})
	})
	t.Run("root of the same name with another key", func(t *testing.T) {
		fake, key := ca(t, "cloud root", nil, nil)
		between, by := ca(t, "cloud intermediate", fake, key)
		leaf := certificate(t, leafOf(c, t), between, c.AKKey.Public(), by)
		verify(t, attest.CheckChainUntrusted, attest.Endorsement{Type: attest.EndorsementAKCertificate, Data: leaf.Raw}, extra(between), extra(fake))
	})
	t.Run("leaf signs a leaf", func(t *testing.T) {
		by, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		signer := certificate(t, leafOf(c, t), c.intermediate, by.Public(), c.key)
		leaf := certificate(t, leafOf(c, t), signer, c.AKKey.Public(), by)
		verify(t, attest.CheckChainUntrusted, attest.Endorsement{Type: attest.EndorsementAKCertificate, Data: leaf.Raw}, extra(signer), extra(c.intermediate))
	})
	t.Run("of another machine", func(t *testing.T) {
		other := newCloud(t)
		leaf := certificate(t, leafOf(c, t), c.intermediate, other.AKKey.Public(), c.key)
		verify(t, attest.CheckAKNotTrusted, attest.Endorsement{Type: attest.EndorsementAKCertificate, Data: leaf.Raw}, extra(c.intermediate))
	})
}

// leafOf is the sound template for the AK of c.
func leafOf(c *cloud, t *testing.T) *x509.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.certify(t))
	if err != nil {
		t.Fatal(err)
	}
	leaf.ExtraExtensions = []pkix.Extension{{Id: oidInstance, Value: info()}}
	leaf.SubjectKeyId, leaf.AuthorityKeyId, leaf.SignatureAlgorithm = nil, nil, 0
	return leaf
}

// TestPublicArea: Google certifies the AK's key; that the rest of its public area is
// the TPM's own is in the quote.
func TestPublicArea(t *testing.T) {
	c := newCloud(t)
	ev := c.evidence(t, func(e *format.Evidence) {
		e.TPM.AK = bytes.Clone(e.TPM.AK)
		e.TPM.AK[6] ^= 0x04 // noDA
	})
	_, err := verifier(t, c.config()).Verify(t.Context(), ev, attest.Expect{At: now})
	wantCheck(t, err, attest.CheckAKNotTrusted, false)
}

func TestBody(t *testing.T) {
	c := newCloud(t)
	cfg := c.config()
	cfg.SNP, cfg.TDX = sound(), sound()
	v := verifier(t, cfg)
	for name, tc := range map[string]struct {
		change func(*format.Evidence)
		want   attest.Check
		id     bool
	}{
		"another type":         {func(e *format.Evidence) { e.Type = attest.TypeTPM }, attest.CheckTypeNotAllowed, false},
		"simulated":            {func(e *format.Evidence) { e.Type = attest.TypeGCE.Simulated() }, attest.CheckTypeNotAllowed, false},
		"TPM part not of tpm":  {func(e *format.Evidence) { e.TPM.Type = attest.TypeGCE }, attest.CheckTypeNotAllowed, false},
		"two hardware parts":   {func(e *format.Evidence) { e.SNPReport, e.TDXQuote = c.report(), c.report() }, attest.CheckMalformed, false},
		"report too large":     {func(e *format.Evidence) { e.SNPReport = make([]byte, 33<<10) }, attest.CheckMalformed, false},
		"recipient elsewhere":  {func(e *format.Evidence) { e.TPM.Recipient.Public[10] ^= 1 }, attest.CheckRecipientUnbound, true},
		"PCR changed":          {func(e *format.Evidence) { e.TPM.PCRs["sha256"]["0"] = make([]byte, 31) }, attest.CheckMalformed, true},
		"signature of another": {func(e *format.Evidence) { e.TPM.Signature[20] ^= 1 }, attest.CheckSignature, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), c.evidence(t, tc.change), attest.Expect{At: now})
			wantCheck(t, err, tc.want, tc.id)
		})
	}
}

func TestNew(t *testing.T) {
	for name, cfg := range map[string]gce.Config{
		"another type":             {Type: attest.TypeTPM},
		"simulation with Google's": {Type: attest.TypeGCE.Simulated()},
	} {
		if _, err := gce.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if n := len(verifier(t, gce.Config{SNP: sound()}).Anchors()); n != 3 {
		t.Errorf("%d anchors, want two of Google's and the hardware's", n)
	}
}
