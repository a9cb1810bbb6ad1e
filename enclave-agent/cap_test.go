package agent

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/openskr/openskr/attest"
	tdx "github.com/openskr/openskr/attest/tdx/guest"
)

// On a machine without a TPM the cap goes to a register of TDX, in the kernel's folder.
func TestCapRTMR(t *testing.T) {
	root := t.TempDir()
	if err := CapRTMR(Hardware{Root: root}, DefaultRTMR, CapEvent); !errors.Is(err, ErrNoRTMR) {
		t.Errorf("no TDX: %v", err)
	}
	dir := filepath.Join(root, tdx.DefaultMeasurements)
	file := filepath.Join(dir, "rtmr3:sha384")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(file, make([]byte, 48), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := CapRTMR(Hardware{Root: root}, DefaultRTMR, CapEvent); err != nil {
		t.Fatal(err)
	}
	want := sha512.Sum384([]byte(CapEvent))
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want[:]) {
		t.Errorf("%x, %v", got, err)
	}
	for _, n := range []int{-1, 0, 1, 4, 15} {
		if err := CapRTMR(Hardware{Root: root}, n, CapEvent); !errors.Is(err, ErrConfig) {
			t.Errorf("RTMR %d: %v", n, err)
		}
	}
}

// A TPM beside a machine whose own evidence does not show its PCRs changes nothing of what
// is shown, and what is configured wins over what is found.
func TestShown(t *testing.T) {
	root := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(root, "dev"), 0o700), os.WriteFile(filepath.Join(root, "dev/tpmrm0"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if got := (Hardware{Root: root}).Shown(t.Context()); !got.PCR || got.RTMR {
		t.Errorf("a TPM: %+v", got)
	}
	if err := os.WriteFile(filepath.Join(root, "dev/tdx_guest"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := (Hardware{Root: root}).Shown(t.Context()); got.PCR || !got.RTMR {
		t.Errorf("TDX and a TPM: %+v", got)
	}
	for platform, want := range map[attest.Type]Shown{
		attest.TypeTPM: {PCR: true}, attest.TypeAzureCVM: {PCR: true}, attest.TypeGCE: {PCR: true}, "simulated-azure-cvm": {PCR: true},
		attest.TypeTDX: {RTMR: true}, "simulated-tdx": {RTMR: true}, attest.TypeSNP: {}, attest.TypeNitro: {},
	} {
		want.Type = string(platform)
		if got := (Hardware{Root: root, Platform: platform}).Shown(t.Context()); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}
