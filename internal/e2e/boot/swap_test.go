package boot

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/canary"
)

// reported is a key that TestSwap of internal/canary knows of, and whether it stays off
// the swap device.
var reported = regexp.MustCompile(`(?m)^ *[0-9.]+ swap: (stays|leaks) ([0-9a-f]+) (.*)$`)

// TestAG12PlainSwap boots a machine that is the tests of internal/canary and both
// programs, with swap that is not encrypted and little memory, and looks for their keys on
// that device. It has no disk and no TPM: hardware and broker are played in it.
func TestAG12PlainSwap(t *testing.T) {
	require(t)
	var kernel string
	step(t, "Debian (cached)", func() (err error) {
		root, err := debian()
		if err == nil {
			kernel, err = kernelOf(root)
		}
		return err
	})
	dir := t.TempDir()
	initrd, swap := filepath.Join(dir, "initrd"), filepath.Join(dir, "swap")
	step(t, "tests and programs into an initrd", func() error { return swapping(initrd) })
	if err := os.WriteFile(swap, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(swap, 64<<20); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	vm := exec.CommandContext(ctx, "qemu-system-x86_64", append(pc(), "-bios", qboot, "-kernel", kernel, "-initrd", initrd,
		"-append", "console=ttyS0 quiet OPENSKR_SWAP=/dev/nvme0n1 OPENSKR_BIN=/usr/bin -- -test.run=^TestSwap$ -test.v",
		"-drive", "file="+swap+",if=none,id=swap,format=raw", "-device", "nvme,serial=swap,drive=swap")...)
	vm.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := &terminal{began: time.Now(), raw: io.Discard}
	vm.Stdout, vm.Stderr = out, out
	err := vm.Run()
	said := plain(out.text.String())
	if err != nil || (&console{text: said}).line("alone: exit 0") == "" {
		t.Fatalf("%v; the end of its console:\n%s", err, tail([]byte(said)))
	}
	t.Logf("%.0f s from power on to power off", time.Since(out.began).Seconds())
	scanned(t, swap, said)
}

// scanned wants on a swap device what the console says, and wants it to say so of a key
// that leaks, too.
func scanned(t *testing.T, swap, said string) {
	t.Helper()
	device, err := os.ReadFile(swap)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, line := range reported.FindAllStringSubmatch(said, -1) {
		key, err := hex.DecodeString(line[2])
		if err != nil {
			t.Fatal(err)
		}
		k, err := canary.New(key)
		if err != nil {
			t.Fatal(err)
		}
		found := k.In(device)
		if leaks := line[1] == "leaks"; leaks != (len(found) > 0) {
			t.Errorf("key %s: want leak %t, found %q", line[3], leaks, found)
		}
		seen[line[1]]++
	}
	if seen["stays"] < 6 || seen["leaks"] != 1 {
		t.Errorf("keys that the machine reported: %v", seen)
	}
}

// swapping makes the whole machine: its only program is the tests, which start the others.
func swapping(initrd string) error {
	source, bin, err := checkout()
	if err != nil {
		return err
	}
	tests := filepath.Join(filepath.Dir(initrd), "canary.test")
	cmd := exec.Command("go", "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", tests, "./internal/canary")
	cmd.Dir, cmd.Env = source, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the tests: %w\n%s", err, tail(out))
	}
	files := map[string]string{}
	for to, from := range map[string]string{
		"init": tests, "usr/bin/openskr-agent": filepath.Join(bin, "openskr-agent"), "usr/bin/openskr-workload": filepath.Join(bin, "openskr-workload"),
	} {
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		files[to] = string(b)
	}
	return os.WriteFile(initrd, newc(0o755, files), 0o600)
}
