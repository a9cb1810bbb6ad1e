package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/openskr/openskr/attest/tpm/format"
	"github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
	"github.com/openskr/openskr/internal/enroll"
	"github.com/openskr/openskr/internal/swtpm"
	"github.com/openskr/openskr/release"
)

// TestDenyListOfEKs: ek_deny keeps a machine out by either hash of its EK, and makes
// the AK certificate revoked that it may have.
func TestDenyListOfEKs(t *testing.T) {
	m, err := tpmtest.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m.EKHash, m.EKCert = [32]byte{1}, [32]byte{2}
	der, err := m.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		hash   [32]byte
		denied bool
	}{
		"EK key": {m.EKHash, true}, "EK certificate": {m.EKCert, true}, "AK certificate": {sha256.Sum256(der), true}, "another": {[32]byte{3}, false},
	} {
		s := &settings{deny: enroll.AllowList{want.hash: {}}}
		if s.denied(c) != want.denied {
			t.Errorf("%s: denied is %v", name, !want.denied)
		}
	}
	if !(&settings{}).denied(m.CA) {
		t.Error("a certificate that names no EK passes")
	}
}

// TestDenyListStopsEnrolment: of the running service, over the allow list and open
// enrolment.
func TestDenyListStopsEnrolment(t *testing.T) {
	if err := swtpm.Available(); err != nil {
		t.Skip(err)
	}
	soft, err := swtpm.Start(t.Context(), filepath.Join(t.TempDir(), "tpm"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = soft.Close() })
	g, err := guest.Open(soft.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	req, err := g.EnrollRequest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ek, err := x509.ParseCertificate(req.EKCertificate)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hash := func(b []byte) []byte { d := sha256.Sum256(b); return []byte(hex.EncodeToString(d[:]) + "\n") }
	data := filepath.Join(dir, "d")
	if err := (&app{stdout: io.Discard, stderr: io.Discard, json: true}).init(t.Context(), initFlags{data: data, listen: freeAddress(t)}); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(data, "")
	if err != nil {
		t.Fatal(err)
	}
	cfg.EKRoots, cfg.OpenEnrolment = []string{file("roots.pem", soft.Roots)}, true
	cfg.EKAllow = file("allow", hash(ek.RawSubjectPublicKeyInfo))
	for name, tc := range map[string]struct {
		deny   []byte
		status string
	}{
		"certificate": {hash(ek.Raw), release.MachineDenied}, "key": {hash(ek.RawSubjectPublicKeyInfo), release.MachineDenied},
		"nobody": {[]byte("# nobody\n"), release.MachineApproved},
	} {
		cfg.EKDeny = file("deny", tc.deny)
		b, err := openBroker(t.Context(), brokerOptions{Dir: data, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: &slog.LevelVar{}, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		service := b.settings.Load().enroll
		ch, err := service.Begin(t.Context(), *req)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := g.Activate(t.Context(), ch)
		if err != nil {
			t.Fatal(err)
		}
		res, err := service.Finish(t.Context(), format.EnrollProof{State: ch.State, Secret: secret})
		if err != nil || res.Status != tc.status || (len(res.Certificate) > 0) != (tc.status == release.MachineApproved) {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
		if err := b.close(); err != nil {
			t.Fatal(err)
		}
	}
}
