package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	azure "github.com/openskr/openskr/attest/azurecvm/format"
	azuresim "github.com/openskr/openskr/attest/azurecvm/simulated"
	"github.com/openskr/openskr/attest/binding"
	tpm "github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/internal/strict"
)

// certified is a root, an intermediate below it and the certificate of an AK below that,
// each a PEM file of dir.
func certified(t *testing.T, dir string, ak *rsa.PublicKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	from, to := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	issue := func(name string, parent *x509.Certificate, public any) *x509.Certificate {
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to}
		if c.IsCA = public == nil; c.IsCA {
			c.BasicConstraintsValid, c.KeyUsage, public = true, x509.KeyUsageCertSign, key.Public()
		} else {
			c.KeyUsage, c.UnknownExtKeyUsage = x509.KeyUsageDigitalSignature, []asn1.ObjectIdentifier{{2, 23, 133, 8, 3}}
		}
		if parent == nil {
			parent = c
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, public, key)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	root := issue("root", nil, nil)
	issue("leaf", issue("ca", root, nil), ak)
}

// akClaim runs evidence verify and gives the check that refused, and who vouched.
func akClaim(t *testing.T, args ...string) (check attest.Check, subject string) {
	t.Helper()
	code, stdout, stderr := call(t, append([]string{"evidence", "verify", "--json"}, args...)...)
	var v struct {
		Check  attest.Check `json:"check"`
		Claims struct {
			Azure struct {
				AKCertificate struct {
					Subject string `json:"subject"`
				} `json:"ak_certificate"`
			} `json:"azure"`
		} `json:"claims"`
	}
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || (code == codeDone) != (v.Check == "") {
		t.Fatalf("exit %d: %v, %s%s", code, err, stdout, stderr)
	}
	return v.Check, v.Claims.Azure.AKCertificate.Subject
}

// TestEvidenceAKCertificate: of a real machine, whose key a test's authority certifies;
// Microsoft's own certificate of it is nowhere published.
func TestEvidenceAKCertificate(t *testing.T) {
	vectors := os.Getenv("OPENSKR_VECTORS")
	if vectors == "" {
		t.Skip("OPENSKR_VECTORS is not set")
	}
	folder, dir, other := filepath.Join(vectors, "azure-03-snp-genoa-trustee-v1"), t.TempDir(), t.TempDir()
	raw, err := os.ReadFile(filepath.Join(folder, "hcl-report.bin"))
	if err != nil {
		t.Fatal(err)
	}
	certified(t, dir, namedAK(t, raw))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	certified(t, other, &key.PublicKey)
	base := []string{
		"--type", "azure-cvm", "--at", vectorsDay, "--hcl", filepath.Join(folder, "hcl-report.bin"),
		"--endorsement", filepath.Join(folder, "vcek.der"),
	}
	in := func(dir string, flags ...string) (out []string) {
		for i := 0; i < len(flags); i += 2 {
			out = append(out, flags[i], filepath.Join(dir, flags[i+1]+".pem"))
		}
		return out
	}
	for name, c := range map[string]struct {
		args    []string
		check   attest.Check
		subject string
	}{
		"none":            {nil, "", ""},
		"under a root":    {in(dir, "--ak-cert", "leaf", "--endorsement", "ca", "--root", "root"), "", "CN=leaf"},
		"chain as roots":  {in(dir, "--ak-cert", "leaf", "--root", "ca", "--root", "root"), "", "CN=leaf"},
		"no intermediate": {in(dir, "--ak-cert", "leaf", "--root", "root"), attest.CheckChainUntrusted, ""},
		"a CA is no root": {in(dir, "--ak-cert", "leaf", "--root", "ca"), attest.CheckChainUntrusted, ""},
		"Microsoft's own": {in(dir, "--ak-cert", "leaf", "--endorsement", "ca"), attest.CheckChainUntrusted, ""},
		"of another AK":   {in(other, "--ak-cert", "leaf", "--endorsement", "ca", "--root", "root"), attest.CheckNotLinked, ""},
	} {
		if check, subject := akClaim(t, append(slices.Clone(base), c.args...)...); check != c.check || subject != c.subject {
			t.Errorf("%s: check %q, subject %q", name, check, subject)
		}
	}
}

// namedAK is the AK that an HCL report names.
func namedAK(t *testing.T, raw []byte) *rsa.PublicKey {
	t.Helper()
	hcl, err := azure.ParseHCL(raw)
	if err != nil {
		t.Fatal(err)
	}
	var runtime struct {
		Keys []struct {
			N string `json:"n"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(hcl.Runtime, &runtime); err != nil {
		t.Fatal(err)
	}
	n, err := base64.RawURLEncoding.DecodeString(runtime.Keys[0].N)
	if err != nil {
		t.Fatal(err)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
}

// TestEvidenceAKCertificateInEvidence: --ak-cert takes the place of the certificate
// that the evidence carries, and of nothing else.
func TestEvidenceAKCertificateInEvidence(t *testing.T) {
	dir := t.TempDir()
	seed, file, leaf := filepath.Join(dir, "seed"), filepath.Join(dir, "evidence"), filepath.Join(dir, "leaf.bin")
	if err := simulate.NewSeed(seed); err != nil {
		t.Fatal(err)
	}
	s, err := simulate.ReadSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	p, err := azuresim.New(s)
	if err != nil {
		t.Fatal(err)
	}
	var made [2]*azuresim.Machine
	for i := range made {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		if made[i], err = p.Report(&key.PublicKey, azuresim.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	sent := func(certificate []byte) {
		body, err := strict.Marshal(azure.Evidence{Type: attest.TypeAzureCVM.Simulated(), HCL: made[0].HCL, TPM: tpm.Evidence{Type: attest.TypeTPM}})
		if err != nil {
			t.Fatal(err)
		}
		ends := append(made[0].Endorsements(), attest.Endorsement{Type: attest.EndorsementAKCertificate, Data: certificate})
		b, err := strict.Marshal(binding.ReleaseRequest{Evidence: body, Endorsements: ends})
		if err != nil {
			t.Fatal(err)
		}
		write(t, file, b)
	}
	write(t, leaf, append(slices.Clone(made[0].AKCertificate), 0, 0, 0)) // as NV has it
	args := []string{"--evidence", file, "--simulation", seed}
	sent(made[0].AKCertificate)
	if check, subject := akClaim(t, args...); check != "" || !strings.HasSuffix(subject, ".TrustedVM.simulated") {
		t.Errorf("its own: check %q, subject %q", check, subject)
	}
	sent(made[1].AKCertificate)
	if check, _ := akClaim(t, args...); check != attest.CheckNotLinked {
		t.Errorf("another's: check %q", check)
	}
	if check, subject := akClaim(t, append(args, "--ak-cert", leaf)...); check != "" || subject == "" {
		t.Errorf("another's, and its own given: check %q, subject %q", check, subject)
	}
	write(t, leaf, made[0].AKCertificate[1:])
	if code, _, stderr := call(t, append([]string{"evidence", "verify", "--ak-cert", leaf}, args...)...); code != codeUsage || !strings.Contains(stderr, "want one certificate") {
		t.Errorf("no certificate: exit %d, %s", code, stderr)
	}
}
