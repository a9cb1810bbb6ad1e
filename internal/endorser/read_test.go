package endorser_test

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	sevdata "github.com/google/go-sev-guest/verify/testdata"
	tdxdata "github.com/google/go-tdx-guest/testing/testdata"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/dcap"
	"github.com/openskr/openskr/internal/endorser"
)

// genuine checks Intel's documents by the verifier's own code.
func genuine(t *testing.T) endorser.Inspect {
	t.Helper()
	e, err := dcap.New(dcap.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return e.Inspect
}

func wantGenuine(t *testing.T, s endorser.Static, at time.Time, needs ...attest.Need) {
	t.Helper()
	inspect := genuine(t)
	for _, need := range needs {
		doc, err := s.Endorse(t.Context(), need)
		if err != nil {
			t.Errorf("%v: %v", need, err)
			continue
		}
		if _, err := inspect(need, doc, at); err != nil {
			t.Errorf("%v: %v", need, err)
		}
	}
}

var (
	rootCRL  = attest.Need{Kind: attest.NeedIntelRootCRL}
	platform = attest.Need{Kind: attest.NeedIntelPCKCRL, ID: "platform"}
	qeTDX    = attest.Need{Kind: attest.NeedIntelQE, ID: "tdx"}
)

// Loose files without any chain: what certificates are missing are Intel's own.
func TestLoadLooseFiles(t *testing.T) {
	dir := t.TempDir()
	for name, b := range map[string][]byte{
		"a": tdxdata.TcbInfoBody, "b.json": tdxdata.QeIdentityBody, "c.der": tdxdata.PckCrlBody, "d": tdxdata.RootCrlBody,
		"quote.bin": tdxdata.RawQuote, "notes.txt": []byte("no collateral"), "other.json": []byte(`{"kty":"EC"}`), "empty": nil,
	} {
		writeFile(t, filepath.Join(dir, name), string(b))
	}
	at := time.Date(2023, 7, 1, 0, 0, 0, 0, time.UTC)
	want := []attest.Need{rootCRL, platform, qeTDX, {Kind: attest.NeedIntelTCB, ID: "tdx/50806f000000"}}
	s, err := endorser.Load([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	wantGenuine(t, s, at, want...)
	if len(s) != len(want) {
		t.Errorf("loaded %d documents, want %d", len(s), len(want))
	}

	// CRLs in hex, as a PCCS gives them, and in PEM.
	writeFile(t, filepath.Join(dir, "c.der"), hex.EncodeToString(tdxdata.PckCrlBody)+"\n")
	writeFile(t, filepath.Join(dir, "d"), string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: tdxdata.RootCrlBody})))
	if s, err = endorser.Load([]string{dir}); err != nil {
		t.Fatal(err)
	}
	wantGenuine(t, s, at, want...)

	// The folder of an Endorser holds the same.
	stored := t.TempDir()
	e, _ := build(t, nil, endorser.Config{Dir: stored, Offline: true, Inspect: genuine(t), Now: func() time.Time { return at }})
	for need, doc := range s {
		if _, _, err := e.Import(need, doc); err != nil {
			t.Errorf("%v: %v", need, err)
		}
	}
	if s, err = endorser.Load([]string{stored}); err != nil {
		t.Fatal(err)
	}
	wantGenuine(t, s, at, want...)
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.json")
	for name, text := range map[string]string{
		"a text":               "hello",
		"a number in hex":      "0102",
		"another enclave":      `{"enclaveIdentity":{"id":"QVE","issueDate":"2025-01-01T00:00:00Z"},"signature":"00"}`,
		"no TCB info":          `{"tcbInfo":7,"signature":"00"}`,
		"a broken bundle":      `{"tcb_info":"{","tcb_info_signature":"00"}`,
		"a broken envelope":    `{"v":1,"kind":"amd-crl","data":"!"}`,
		"envelope, version 2":  `{"v":2,"kind":"amd-crl","id":"","data":"e30","fetched":"2000-01-01T00:00:00Z"}`,
		"envelope, two kinds":  `{"v":1,"kind":"amd-crl","kind":"amd-crl","id":"","data":"e30","fetched":"2000-01-01T00:00:00Z"}`,
		"envelope, with extra": `{"v":1,"kind":"amd-crl","id":"","data":"e30","fetched":"2000-01-01T00:00:00Z","x":1}`,
	} {
		writeFile(t, bad, text)
		if _, err := endorser.Load([]string{bad}); err == nil {
			t.Errorf("%s: no error for a file that was named", name)
		}
		if _, err := endorser.ReadCollateral([]string{dir}); err == nil {
			t.Errorf("%s: no error for a folder without collateral", name)
		}
	}
	if _, err := endorser.Load([]string{filepath.Join(dir, "absent")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
	s := endorser.Static{}
	if _, err := s.Endorse(t.Context(), crl); !errors.Is(err, endorser.ErrMissing) {
		t.Errorf("what was not given: %v", err)
	}
}

// Of two issues in one folder the later counts, whatever their names.
func TestLoadLatest(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, names := range [][2]string{{"a.json", "b.json"}, {"b.json", "a.json"}} {
		dir := t.TempDir()
		old, latest := statement(now), statement(now.Add(time.Second))
		writeFile(t, filepath.Join(dir, names[0]), old)
		writeFile(t, filepath.Join(dir, names[1]), latest)
		s, err := endorser.Load([]string{dir})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(s[qeTDX].Data); got != latest {
			t.Errorf("got %s", got)
		}
	}
}

func statement(issued time.Time) string {
	return `{"enclaveIdentity":{"id":"TD_QE","issueDate":"` + issued.Format(time.RFC3339) + `"},"signature":"00"}`
}

// A VCEK gets the name that AMD's service knows it by.
func TestLoadVCEK(t *testing.T) {
	file := filepath.Join(t.TempDir(), "vcek")
	writeFile(t, file, string(sevdata.VcekBytes))
	s, err := endorser.Load([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	report, err := abi.ReportToProto(sevdata.AttestationBytes[:abi.ReportSize])
	if err != nil {
		t.Fatal(err)
	}
	if len(s) != 1 {
		t.Fatalf("got %v", s)
	}
	for got := range s {
		id, err := kds.ParseVCEKCertURL("https://kdsintf.amd.com/vcek/v1/" + got.ID)
		if err != nil || got.Kind != attest.NeedAMDVCEK || id.ProductLine != "Milan" || !bytes.Equal(id.HWID, report.GetChipId()) || id.TCB != report.GetReportedTcb() {
			t.Errorf("got %v (%v) for chip %x, TCB %x", got, err, report.GetChipId(), report.GetReportedTcb())
		}
		a := newAuthority(t, serve(document(1, time.Now(), month)))
		e, _ := build(t, a, endorser.Config{})
		mustEndorse(t, e, got) // the endorser asks for it under this name
	}
}

func TestLoadVectors(t *testing.T) {
	root := os.Getenv("OPENSKR_VECTORS")
	if root == "" {
		t.Skip("OPENSKR_VECTORS is not set")
	}
	info := func(id string) attest.Need { return attest.Need{Kind: attest.NeedIntelTCB, ID: id} }
	for _, c := range []struct {
		path, at string
		needs    []attest.Need
	}{
		{"tdx-01-spr-gotdxguest", "2023-07-01T00:00:00Z", []attest.Need{rootCRL, platform, qeTDX, info("tdx/50806f000000")}},
		{"tdx-06-phala/collateral.json", "2025-06-20T00:00:00Z", []attest.Need{rootCRL, platform, qeTDX, info("tdx/b0c06f000000")}},
		{"tdx-07-phala-outdated", "2026-02-20T00:00:00Z", []attest.Need{rootCRL, platform, qeTDX}},
		{"tdx-10-lunal-live", "2026-04-01T00:00:00Z", []attest.Need{rootCRL, platform, qeTDX, info("tdx/50806f000000"), info("tdx/90c06f000000")}},
		{"sgx-02-phala", "2025-06-20T00:00:00Z", []attest.Need{rootCRL, {Kind: attest.NeedIntelPCKCRL, ID: "processor"}, {Kind: attest.NeedIntelQE, ID: "sgx"}, info("sgx/00a067110000")}},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		s, err := endorser.Load([]string{filepath.Join(root, c.path)})
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		t.Run(c.path, func(t *testing.T) { wantGenuine(t, s, at, c.needs...) })
	}
	// Named files, the chain in one of them.
	dir := filepath.Join(root, "tdx-10-lunal-live")
	s, err := endorser.Load([]string{filepath.Join(dir, "td_qe_identity.json"), filepath.Join(dir, "tcb_signing_chain.pem")})
	if err != nil {
		t.Fatal(err)
	}
	wantGenuine(t, s, time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC), qeTDX)
}

func TestKindsAndOutcomesAreClosed(t *testing.T) {
	for _, need := range []attest.NeedKind{attest.NeedAMDVCEK, attest.NeedAMDCRL, attest.NeedIntelTCB, attest.NeedIntelQE, attest.NeedIntelPCKCRL, attest.NeedIntelRootCRL, attest.NeedJWKS} {
		if !slices.Contains(endorser.Kinds(), string(need)) {
			t.Errorf("no label for %s", need)
		}
	}
}
