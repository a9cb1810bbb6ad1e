package canary_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/enclave-agent/ageplugin"
)

// What tells this program, started again by a test, what it is.
const (
	asPeer = "OPENSKR_TEST_PEER" // systemd-cryptsetup, asking at this socket
	inside = "OPENSKR_TEST_RUN"  // a test with a /run of its own
)

func TestMain(m *testing.M) {
	if os.Getpid() == 1 {
		alone(m)
	}
	if os.Args[0] == cryptsetup {
		os.Exit(standIn())
	}
	if filepath.Base(os.Args[0]) == ageplugin.Program {
		os.Exit(relay())
	}
	if socket := os.Getenv(asPeer); socket != "" {
		os.Exit(peer(socket))
	}
	if os.Getenv(asHog) != "" {
		os.Exit(hog())
	}
	if os.Getenv(asCommand) != "" {
		os.Exit(command())
	}
	os.Exit(m.Run())
}

// peer reads a key as systemd-cryptsetup does: from a socket, about the volume that is
// in the name of its own end.
func peer(socket string) int {
	c, err := net.DialUnix("unix", &net.UnixAddr{Name: "@0123456789abcdef/cryptsetup/root"}, &net.UnixAddr{Name: socket})
	if err == nil {
		defer c.Close()
		_, err = io.Copy(os.Stdout, c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestModeCrypttab: the server of the key socket has nothing of a key that it has handed
// to systemd-cryptsetup. Headers lie in /run/openskr, so the test has a /run of its own.
func TestModeCrypttab(t *testing.T) {
	if os.Getenv(inside) == "" {
		secluded(t)
		return
	}
	seclude(t)
	m := newMachine(t)
	disk := m.seal()
	config := filepath.Join(t.TempDir(), "disks.json")
	js := fmt.Sprintf(`{"v":1,"disks":{"root":{"device":%q,"key":%q,"recovery":"off","no_cap":true}}}`, disk, agenttest.KeyURL)
	if err := os.WriteFile(config, []byte(js), 0o600); err != nil {
		t.Fatal(err)
	}
	m.agent("crypttab", "header", "root", "--disks", config)

	socket := filepath.Join(t.TempDir(), "key")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	args := append([]string{"-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`, filepath.Join(m.bin, "openskr-agent"), "crypttab", "serve", "--disks", config}, m.options...)
	server := exec.Command("sh", args...)
	server.Dir, server.Stderr, server.ExtraFiles = m.dir, &m.said, []*os.File{f}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cryptsetup := &exec.Cmd{
		Path: exe, Args: []string{"systemd-cryptsetup", "attach", "root", disk, socket, "luks,header=/run/openskr/root.header"},
		Env: []string{asPeer + "=" + socket},
	}
	got, err := cryptsetup.Output()
	if err != nil || !bytes.Equal(got, m.broker.Material) {
		t.Fatalf("the key was not handed over: %d bytes, %v: %s", len(got), err, m.said.String())
	}
	m.clean(server.Process.Pid, m.broker.Material)
}

// secluded runs a test again, where it can [seclude] itself.
func secluded(t *testing.T) {
	t.Helper()
	newMachine(t) // or skip
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// seclude gives this program a /run of its own.
func seclude(t *testing.T) {
	t.Helper()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
}

// seal makes a disk, and has the broker know its header.
func (m *machine) seal() string {
	m.Helper()
	disk := m.disk()
	m.record(m.agent(append([]string{"seal-disk", disk, "--key", agenttest.KeyURL, "--no-recovery", "--json"}, m.options[2:]...)...))
	return disk
}

// disk makes an empty file that stands for one.
func (m *machine) disk() string {
	m.Helper()
	disk := filepath.Join(m.TempDir(), "disk")
	f, err := os.Create(disk)
	if err != nil {
		m.Fatal(err)
	}
	if err := f.Truncate(64 << 20); err != nil {
		m.Fatal(err)
	}
	if err := f.Close(); err != nil {
		m.Fatal(err)
	}
	return disk
}

// record has the broker know the header of which seal-disk said this.
func (m *machine) record(out []byte) {
	m.Helper()
	var sealed struct {
		Header string `json:"header"`
	}
	if err := json.Unmarshal(out, &sealed); err != nil {
		m.Fatalf("%v: %s", err, out)
	}
	m.broker.Change(func() { m.broker.Tags = map[string]string{"luks-header": sealed.Header} })
}

// agent runs openskr-agent to its end, with the broker's agent.json.
func (m *machine) agent(args ...string) []byte {
	m.Helper()
	cmd := exec.Command(filepath.Join(m.bin, "openskr-agent"), append(args, m.options[:2]...)...)
	cmd.Dir, cmd.Stderr = m.dir, &m.said
	out, err := cmd.Output()
	if err != nil {
		m.Fatalf("%v: %v: %s", args, err, m.said.String())
	}
	return out
}
