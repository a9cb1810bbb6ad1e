package guest

import (
	"crypto/sha512"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A folder stands for the kernel's: what is written is what would extend the register.
func TestExtend(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "rtmr3:sha384")
	if err := os.WriteFile(file, make([]byte, 48), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Extend(dir, 3, []byte("event")); err != nil {
		t.Fatal(err)
	}
	want := sha512.Sum384([]byte("event"))
	if got, err := os.ReadFile(file); err != nil || string(got) != string(want[:]) {
		t.Errorf("wrote %x, %v", got, err)
	}
	if err := Extend(dir, 2, []byte("event")); !errors.Is(err, ErrNoRTMR) {
		t.Errorf("a register that is not there: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("made %v", left)
	}
	// One that does not take it is no machine without it.
	if err := os.Mkdir(filepath.Join(dir, "rtmr1:sha384"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Extend(dir, 1, []byte("event")); err == nil || errors.Is(err, ErrNoRTMR) {
		t.Errorf("a register that cannot be written: %v", err)
	}
	if _, err := os.Stat("/dev/full"); err == nil {
		if err := os.Symlink("/dev/full", filepath.Join(dir, "rtmr0:sha384")); err != nil {
			t.Fatal(err)
		}
		if err := Extend(dir, 0, []byte("event")); err == nil || errors.Is(err, ErrNoRTMR) {
			t.Errorf("a write that fails: %v", err)
		}
	}
}
