package tpm_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"
	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-tpm/tpm2"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
)

var update = flag.Bool("update", false, "write the golden files")

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

var nonce = bytes.Repeat([]byte{7}, 52)

func machine(t testing.TB) *tpmtest.Machine {
	t.Helper()
	m, err := tpmtest.New(now)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// booted is a machine whose PCRs are what another library's reading of a real
// log leads to.
func booted(t testing.TB, raw []byte, bank tpm2.TPMAlgID) *tpmtest.Machine {
	t.Helper()
	m := machine(t)
	log, err := tcg.ParseEventLog(raw, tcg.ParseOpts{})
	if err != nil {
		t.Fatal(err)
	}
	m.Log, m.Bank = raw, bank
	alg, size := register.HashSHA256, 32
	if bank == tpm2.TPMAlgSHA384 {
		alg, size = register.HashSHA384, 48
	}
	for i := range 24 {
		m.PCRs[i] = make([]byte, size)
	}
	for _, e := range log.Events(alg) {
		if e.UntrustedType() == tcg.NoAction {
			if l, ok := bytes.CutPrefix(e.RawData(), []byte("StartupLocality\x00")); ok {
				m.PCRs[0][size-1] = l[0]
			}
			continue
		}
		i := int(e.MRIndex())
		ext := append(append([]byte{}, m.PCRs[i]...), e.ReplayedDigest()...)
		if size == 48 {
			d := sha512.Sum384(ext)
			m.PCRs[i] = d[:]
		} else {
			d := sha256.Sum256(ext)
			m.PCRs[i] = d[:]
		}
	}
	return m
}

func verifier(t testing.TB, m *tpmtest.Machine) *tpm.Verifier {
	t.Helper()
	v, err := tpm.New(tpm.Config{AKRoots: caOf(m), Denied: deny(false)})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func verify(t testing.TB, m *tpmtest.Machine) (*attest.Result, error) {
	t.Helper()
	ev, err := m.Evidence(m.RuntimeData(nonce))
	if err != nil {
		t.Fatal(err)
	}
	return verifier(t, m).Verify(t.Context(), ev, attest.Expect{At: now})
}

// TestClaimsOfRealLogs pins every claim that a real machine's log gives.
func TestClaimsOfRealLogs(t *testing.T) {
	for name, raw := range map[string][]byte{
		"arch-linux-workstation": testdata.ArchLinuxWorkstationEventLog,
		"rhel8":                  testdata.Rhel8EventLog,
		"ubuntu-1804-sev":        testdata.Ubuntu1804AmdSevEventLog,
		"ubuntu-2104-no-dbx":     testdata.Ubuntu2104NoDbxEventLog,
		"ubuntu-2104-no-sb":      testdata.Ubuntu2104NoSecureBootEventLog,
		"ubuntu-2404-sev-snp":    testdata.Ubuntu2404AmdSevSnpEventLog,
		"ubuntu-2404-tdx":        testdata.Ubuntu2404IntelTdxA4HighGpu8GEventLog,
		"cos-85":                 testdata.Cos85AmdSevEventLog,
		"cos-121":                testdata.Cos121AmdSevEventLog,
		"cos-125-tdx-sb":         testdata.Cos125IntelTdxSecureBootA4HighGpu8GEventLog,
		"gdc-host":               testdata.GdcHost,
		"glinux":                 testdata.GlinuxAlexEventLog,
	} {
		t.Run(name, func(t *testing.T) {
			res, err := verify(t, booted(t, raw, tpm2.TPMAlgSHA256))
			if err != nil {
				t.Fatal(err)
			}
			claims := res.Claims["tpm"].(map[string]any)
			delete(claims, "ak") // a fresh key each run
			got, err := json.Marshal(res.Claims, json.Deterministic(true), jsontext.WithIndent("\t"))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "claims", name+".json")
			if *update {
				if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(append(got, '\n'), want) {
				t.Errorf("claims differ from %s:\n%s", file, got)
			}
		})
	}
}
