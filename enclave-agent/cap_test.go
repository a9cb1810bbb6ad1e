package agent

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"os"
	"path/filepath"
	"testing"

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
