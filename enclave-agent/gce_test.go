package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/gce"
	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/internal/swtpm"
)

// instance makes a software TPM that has what Google writes into one, and gives the
// root of its AK's certificate.
func instance(t *testing.T) (*swtpm.TPM, *x509.Certificate) {
	t.Helper()
	if shared.err != nil {
		t.Skip(shared.err)
	}
	s, err := swtpm.Start(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	dev, err := linuxudstpm.Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	template := tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, Restricted: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
	}
	ak, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)}, InPublic: tpm2.New2B(template),
	}.Execute(dev)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ak.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	key, err := tpm2.Pub(*pub)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: ak.ObjectHandle}).Execute(dev); err != nil {
		t.Fatal(err)
	}
	root, der := certify(t, key)
	store(t, dev, 0x01c10002, der)
	store(t, dev, 0x01c10003, tpm2.Marshal(template))
	return s, root
}

// certify makes a certificate as of an instance, and its root.
func certify(t *testing.T, ak any) (root *x509.Certificate, der []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cloud"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if root, err = x509.ParseCertificate(rootDER); err != nil {
		t.Fatal(err)
	}
	// zone, project and instance of a real machine
	info, err := hex.DecodeString("306a0c0d75732d63656e7472616c312d6102051b5a475c690c1c676f6f676c652e636f6d3a7775616c652d6763702d74657374696e67" +
		"02085e53e3fbbf8306c50c08636f732d74657374a020301ea003020100a1030101ffa203010100a303010100a403010100a503010100")
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 21}, Value: info}},
	}
	if der, err = x509.CreateCertificate(rand.Reader, leaf, root, ak, key); err != nil {
		t.Fatal(err)
	}
	return root, der
}

// store writes an NV index that everybody reads.
func store(t *testing.T, dev transport.TPM, index tpm2.TPMHandle, b []byte) {
	t.Helper()
	owner := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	_, err := tpm2.NVDefineSpace{AuthHandle: owner, PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
		NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(b)),
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true, NoDA: true},
	})}.Execute(dev)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tpm2.NVReadPublic{NVIndex: index}.Execute(dev)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.NVWrite{AuthHandle: owner, NVIndex: tpm2.NamedHandle{Handle: index, Name: p.NVName}, Data: tpm2.TPM2BMaxNVBuffer{Buffer: b}}.Execute(dev)
	if err != nil {
		t.Fatal(err)
	}
}

func TestGCE(t *testing.T) {
	s, root := instance(t)
	b := agenttest.Start(t)
	p := platform{typ: attest.TypeGCE, verifier: func([32]byte) (attest.Verifier, error) {
		return gce.New(gce.Config{Roots: []*x509.Certificate{root}})
	}}
	last := p.verify(t, b, [32]byte{})
	hw := Hardware{Root: tree(t), TPM: s.Socket}
	a := newAgent(t, b, func(c *Config) { c.Hardware = hw })
	if a.Platform() != attest.TypeGCE {
		t.Errorf("found %s", a.Platform())
	}
	r, err := a.Key(t.Context(), agenttest.KeyURL)
	if err != nil {
		t.Fatalf("%v (%v)", err, *last)
	}
	if sha256.Sum256(r.Material.Bytes()) != sha256.Sum256(b.Material) || b.Enrolled != 0 {
		t.Errorf("other key than the broker's, or %d enrolments", b.Enrolled)
	}
	if err := r.Material.Close(); err != nil {
		t.Error(err)
	}
	if _, err := a.Enroll(t.Context()); !errors.Is(err, ErrNotNeeded) {
		t.Errorf("enrolled: %v", err)
	}

	// Hardware that is there and cannot be used is not left out.
	for node, want := range map[string]string{"sys/devices/platform/sev-guest/uevent": "no SEV-SNP guest device", "dev/tdx_guest": "no TDX guest device"} {
		hw := Hardware{Platform: attest.TypeGCE, Root: tree(t, node), TPM: s.Socket}
		if _, err := New(t.Context(), Config{Trust: &b.Trust, Hardware: hw}); ExitCode(err) != ExitNoHardware || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", node, err)
		}
	}
}
