package guest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	eventlogs "github.com/google/go-eventlog/testdata"
	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/attest/gce"
	"github.com/openskr/openskr/attest/gce/guest"
	tpmguest "github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/internal/swtpm"
)

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

const certECC, certRSA = 0x01c10002, 0x01c10000

// start gives a fresh software TPM that has measured a boot of an instance.
func start(t *testing.T) *swtpm.TPM {
	t.Helper()
	if err := swtpm.Available(); err != nil {
		t.Skip(err)
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
	if err := s.Boot(eventlogs.Ubuntu2404AmdSevSnpEventLog); err != nil {
		t.Fatal(err)
	}
	return s
}

// eventLog is a file with the log of that boot.
func eventLog(t *testing.T) string {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, eventlogs.Ubuntu2404AmdSevSnpEventLog, 0o600); err != nil {
		t.Fatal(err)
	}
	return log
}

// define writes an NV index that everybody reads.
func define(t *testing.T, s *swtpm.TPM, index uint32, data []byte) {
	t.Helper()
	tpm, err := linuxudstpm.Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm.Close()
	owner := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	pub := tpm2.TPMSNVPublic{
		NVIndex: tpm2.TPMHandle(index), NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(data)),
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true, NoDA: true, NT: tpm2.TPMNTOrdinary},
	}
	if _, err := (tpm2.NVDefineSpace{AuthHandle: owner, PublicInfo: tpm2.New2B(pub)}).Execute(tpm); err != nil {
		t.Fatal(err)
	}
	p, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(data); at += 512 {
		_, err := tpm2.NVWrite{
			AuthHandle: owner, NVIndex: tpm2.NamedHandle{Handle: tpm2.TPMHandle(index), Name: p.NVName},
			Data: tpm2.TPM2BMaxNVBuffer{Buffer: data[at:min(at+512, len(data))]}, Offset: uint16(at),
		}.Execute(tpm)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// template is an AK in the shape of Google's.
func template(rsa bool) tpm2.TPMTPublic {
	p := tpm2.TPMTPublic{
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
	if rsa {
		p.Type = tpm2.TPMAlgRSA
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{
				Scheme:  tpm2.TPMAlgRSASSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			KeyBits: 2048,
		})
	}
	return p
}

// provision writes what Google does for an AK of that template, and gives the root of
// its certificate.
func provision(t *testing.T, s *swtpm.TPM, index uint32, template tpm2.TPMTPublic) *x509.Certificate {
	t.Helper()
	tpm, err := linuxudstpm.Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	r, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)}, InPublic: tpm2.New2B(template),
	}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := r.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	key, err := tpm2.Pub(*pub)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: r.ObjectHandle}).Execute(tpm); err != nil {
		t.Fatal(err)
	}
	if err := tpm.Close(); err != nil {
		t.Fatal(err)
	}
	root, der := certify(t, key)
	define(t, s, index, append(der, make([]byte, 100)...)) // the index is larger
	define(t, s, index+1, tpm2.Marshal(template))
	return root
}

func certify(t *testing.T, ak any) (root *x509.Certificate, der []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cloud"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if der, err = x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	if root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	instance, err := hex.DecodeString("306a0c0d75732d63656e7472616c312d6102051b5a475c690c1c676f6f676c652e636f6d3a7775616c652d6763702d74657374696e67" +
		"02085e53e3fbbf8306c50c08636f732d74657374a020301ea003020100a1030101ffa203010100a303010100a403010100a503010100")
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 21}, Value: instance}},
	}
	der, err = x509.CreateCertificate(rand.Reader, leaf, root, ak, key)
	if err != nil {
		t.Fatal(err)
	}
	return root, der
}

// hardware takes the report data for the report.
type hardware struct{}

func (hardware) Anchors() [][]byte { return nil }

func (hardware) Appraise(_ context.Context, raw []byte, ends []attest.Endorsement, _ time.Time) (*attest.Result, []byte, *attest.Rejection) {
	if len(ends) != 1 || ends[0].Type != attest.EndorsementCertificateTable {
		return nil, nil, attest.Reject(attest.CheckChainUntrusted, "endorsements %v", ends)
	}
	return &attest.Result{
		Type: attest.TypeSNP, Claims: attest.Claims{"snp": map[string]any{"vmpl": int64(0)}},
		Facts: attest.Facts{Chain: true, Signature: true, Revocation: attest.Checked},
	}, raw, nil
}

func report(_ context.Context, reportData [64]byte) ([]byte, []attest.Endorsement, error) {
	return reportData[:], []attest.Endorsement{{Type: attest.EndorsementCertificateTable, Data: []byte("table")}}, nil
}

// TestEvidence collects on a vTPM as Google leaves it, and verifies.
func TestEvidence(t *testing.T) {
	s := start(t)
	log := eventLog(t)
	if _, err := guest.Open(t.Context(), guest.Options{TPM: s.Socket}); !errors.Is(err, guest.ErrNotGCE) {
		t.Errorf("a TPM without Google's certificates: %v", err)
	}
	for _, c := range []struct {
		name  string
		index uint32
		rsa   bool
		snp   guest.Report
	}{
		{"RSA", certRSA, true, nil},
		{"elliptic curve, which is taken first, and hardware", certECC, false, report},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := provision(t, s, c.index, template(c.rsa))
			m, err := guest.Open(t.Context(), guest.Options{TPM: s.Socket, EventLog: log, SNP: c.snp})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			collect(t, m, root)
		})
	}
	both := guest.Options{TPM: s.Socket, SNP: report, TDX: report}
	if _, err := guest.Open(t.Context(), both); err == nil {
		t.Error("two kinds of hardware")
	}
}

func collect(t *testing.T, m *guest.Machine, root *x509.Certificate) {
	t.Helper()
	sel := tpmguest.DefaultSelection()
	r, err := m.NewRecipient(t.Context(), tpmguest.Hybrid, sel)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rd, err := (&binding.RuntimeData{
		Keys: []jsontext.Value{r.JWK}, Nonce: []byte("nonce"), Audience: "deployment", Purpose: binding.PurposeRelease, Key: "https://vault/keys/k", Enc: "hpke",
	}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	ev, err := m.Evidence(t.Context(), rd, sel, r)
	if err != nil {
		t.Fatal(err)
	}
	v, err := gce.New(gce.Config{Roots: []*x509.Certificate{root}, SNP: hardware{}, Denied: func(string) bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	res, err := v.Verify(t.Context(), ev, attest.Expect{At: now})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Facts.Bound || !res.Facts.Resident || res.Facts.Revocation != attest.Checked || res.Claims["secureboot"] == nil ||
		res.Claims["gce"].(map[string]any)["instance_name"] != "cos-test" {
		t.Errorf("%+v", res)
	}
}

// TestHardwareFails: no evidence of one half.
func TestHardwareFails(t *testing.T) {
	s := start(t)
	provision(t, s, certECC, template(false))
	broken := errors.New("broken")
	m, err := guest.Open(t.Context(), guest.Options{TPM: s.Socket, EventLog: eventLog(t), TDX: func(context.Context, [64]byte) ([]byte, []attest.Endorsement, error) { return nil, nil, broken }})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Evidence(t.Context(), []byte("{}"), tpmguest.DefaultSelection(), nil); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// TestTemplate: a template that is not of an attestation key makes none.
func TestTemplate(t *testing.T) {
	s := start(t)
	open := template(false)
	open.ObjectAttributes.Restricted = false
	provision(t, s, certECC, open)
	m, err := guest.Open(t.Context(), guest.Options{TPM: s.Socket, EventLog: eventLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Evidence(t.Context(), []byte("{}"), tpmguest.DefaultSelection(), nil); err == nil {
		t.Error("an unrestricted key quotes")
	}
}
