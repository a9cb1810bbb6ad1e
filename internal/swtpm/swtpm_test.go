package swtpm

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/google/go-eventlog/testdata"
	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

func start(t *testing.T, dir string) *TPM {
	t.Helper()
	if err := Available(); err != nil {
		t.Skip(err)
	}
	s, err := Start(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func pcr(t *testing.T, s *TPM, i uint) []byte {
	t.Helper()
	tpm, err := linuxudstpm.Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm.Close()
	r, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
		Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(i),
	}}}}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	return r.PCRValues.Digests[0].Buffer
}

func resetCount(t *testing.T, s *TPM) uint32 {
	t.Helper()
	tpm, err := linuxudstpm.Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm.Close()
	r, err := tpm2.ReadClock{}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	return r.CurrentTime.ClockInfo.ResetCount
}

func TestBootExtendReset(t *testing.T) {
	s := start(t, t.TempDir())
	zero := make([]byte, 32)
	if !bytes.Equal(pcr(t, s, 8), zero) {
		t.Fatal("PCR 8 is not zero after start")
	}
	if err := s.Boot(testdata.Ubuntu2404AmdSevSnpEventLog); err != nil {
		t.Fatal(err)
	}
	booted := pcr(t, s, 8)
	if bytes.Equal(booted, zero) {
		t.Fatal("boot did not extend PCR 8")
	}
	if err := s.Extend(8, []byte("one more")); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(pcr(t, s, 8), booted) {
		t.Fatal("Extend did not extend PCR 8")
	}
	count := resetCount(t, s)
	if err := s.Reset(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pcr(t, s, 8), zero) {
		t.Fatal("PCR 8 survived a reset")
	}
	if resetCount(t, s) <= count {
		t.Fatal("resetCount did not grow")
	}
	if n := bytes.Count(s.Roots, []byte("BEGIN CERTIFICATE")); n != 2 {
		t.Fatalf("%d CA certificates, want root and issuing CA", n)
	}
}

func TestLongDirectory(t *testing.T) {
	s := start(t, t.TempDir()+"/"+strings.Repeat("d", 100))
	if len(s.Socket) > maxSocketPath {
		t.Fatalf("socket path of %d bytes", len(s.Socket))
	}
	if _, err := os.Stat(s.Socket); err != nil {
		t.Fatal(err)
	}
}

func TestParseLog(t *testing.T) {
	log := testdata.Ubuntu2404AmdSevSnpEventLog
	events, err := parseLog(log)
	if err != nil || len(events) < 100 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	for _, n := range []int{0, 10, 40, 70, len(log) - 1} {
		if _, err := parseLog(log[:n]); err == nil {
			t.Errorf("log cut at %d of %d parses", n, len(log))
		}
	}
}

func FuzzParseLog(f *testing.F) {
	f.Add(testdata.Ubuntu2404AmdSevSnpEventLog[:512])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		events, err := parseLog(b)
		if err == nil && len(events)*4 > len(b) {
			t.Fatal("more events than bytes")
		}
	})
}
