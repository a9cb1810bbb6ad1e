package boot

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/openskr/openskr/internal/swtpm"
)

// forwardTo makes this program the other end of a guest's connection: qemu starts
// it for each one, with the connection as its standard input and output.
const forwardTo = "OPENSKR_E2E_FORWARD"

func TestMain(m *testing.M) {
	if addr := os.Getenv(forwardTo); addr != "" {
		if err := forward(addr); err != nil {
			fmt.Fprintln(os.Stderr, "forward:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func forward(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	go func() {
		_, _ = io.Copy(c, os.Stdin)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(os.Stdout, c)
	return err
}

// What must be installed, and where it is from: scripts/deps.sh e2e.
const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	ovmfVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
	stub     = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	qboot    = "/usr/share/qemu/qboot.rom"
)

// require skips when whole machines were not asked for, and otherwise fails for
// what is missing.
func require(t *testing.T) {
	t.Helper()
	if os.Getenv("OPENSKR_E2E") != "boot" {
		t.Skip("whole machines are booted by `make e2e-boot`")
	}
	if runtime.GOARCH != "amd64" {
		t.Fatal("the machines are x86-64, and so are the programs in them")
	}
	if os.Geteuid() != 0 {
		t.Fatal("the image is made with mmdebstrap and chroot, which need root: run `make e2e-boot` as root")
	}
	for _, p := range []string{"qemu-system-x86_64", "mmdebstrap", "cryptsetup", "mke2fs", "mformat", "mmd", "mcopy", "objcopy", "unshare", "make"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%v; install it with `scripts/deps.sh e2e`", err)
		}
	}
	for _, f := range []string{ovmfCode, ovmfVars, stub, qboot} {
		if _, err := os.Stat(f); err != nil {
			t.Fatalf("%v; install it with `scripts/deps.sh e2e`", err)
		}
	}
	if err := swtpm.Available(); err != nil {
		t.Fatal(err)
	}
}

// step times what prepares the machines.
func step(t *testing.T, name string, do func() error) {
	t.Helper()
	start := time.Now()
	if err := do(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Logf("%-34s %5.1f s", name, time.Since(start).Seconds())
}

// run runs a program and gives what it printed; an error has its last lines.
func run(dir, program string, args ...string) ([]byte, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", program, err, tail(out))
	}
	return out, nil
}

// tail is the end of an output, short enough to read.
func tail(b []byte) []byte {
	const limit = 4000
	return b[max(0, len(b)-limit):]
}
