package local

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
)

const atMetadata = `{"v":1,"callers":[{"name":"app","identity":{"address":"169.254.169.254:80","metadata":true},"vaults":["https://kv1.vault.example:8443"]}]}`

// loopback brings up lo in a network that has nothing else.
func loopback() error {
	return withLo("lo", func(fd int, r *unix.Ifreq) error {
		r.SetUint16(unix.IFF_UP)
		return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
	})
}

// addMetadata gives lo the address, as an administrator does.
func addMetadata() error {
	return withLo("lo:1", func(fd int, r *unix.Ifreq) error {
		if err := r.SetInet4Addr([]byte{169, 254, 169, 254}); err != nil {
			return err
		}
		return unix.IoctlIfreq(fd, unix.SIOCSIFADDR, r)
	})
}

func withLo(name string, do func(fd int, r *unix.Ifreq) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	r, err := unix.NewIfreq(name)
	if err == nil {
		err = do(fd, r)
	}
	return errors.Join(err, unix.Close(fd))
}

// apart runs a test again in a process that has a network of its own, and says whether
// this is that process.
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv("OPENSKR_TEST_NETWORK") != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes a network namespace")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), program, "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), "OPENSKR_TEST_NETWORK=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := c.CombinedOutput()
	if errors.Is(err, unix.EPERM) {
		t.Skip("no right to make a network namespace")
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v:\n%s", err, out)
	}
	return false
}

// fromMetadata asks as a library does that was told nothing, from an address.
func fromMetadata(t *testing.T, from string, header http.Header) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		"http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://kv1.vault.example:8443", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	d := &net.Dialer{}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: d.DialContext}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestMetadataService: a client that has no variable set finds its identity at the
// address that it knows, when an administrator gave it to the machine.
func TestMetadataService(t *testing.T) {
	if !apart(t) {
		return
	}
	c, err := ParseConfig([]byte(atMetadata))
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{life: `{"iat":1000,"exp":1900}`}
	s, err := New(c, Options{Agent: f, Trust: testTrust(), Log: newLog(&logged{})})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); !errors.Is(err, agent.ErrConfig) || !strings.Contains(err.Error(), "ip address add 169.254.169.254/32 dev lo") {
		t.Fatalf("without the address: %v", err)
	}
	if _, err := check(t, t.TempDir(), atMetadata, Checker{}); err == nil || !strings.Contains(err.Error(), "ip address add") {
		t.Errorf("the check, without the address: %v", err)
	}
	if err := addMetadata(); err != nil {
		t.Fatal(err)
	}
	if notices, err := check(t, t.TempDir(), atMetadata, Checker{User: "nobody"}); err != nil || !strings.Contains(strings.Join(notices, "\n"), "CAP_NET_BIND_SERVICE") {
		t.Errorf("a port that its user may not have: %v, %v", notices, err)
	}
	served := serve(t, f, atMetadata)
	if device := boundTo(t, served.identities[0].listener); device != "lo" {
		t.Errorf("it listens to device %q", device)
	}
	for name, ask := range map[string]struct {
		from   string
		header http.Header
		want   int
	}{
		"as clients do":      {"", http.Header{"Metadata": {"true"}}, http.StatusOK},
		"from the loopback":  {"127.0.0.1", http.Header{"Metadata": {"true"}}, http.StatusOK},
		"no Metadata":        {"", nil, http.StatusBadRequest},
		"talked into it":     {"", http.Header{"Metadata": {"true"}, "X-Forwarded-For": {"10.0.0.1"}}, http.StatusForbidden},
		"a page's":           {"", http.Header{"Metadata": {"true"}, "Origin": {"http://169.254.169.254"}}, http.StatusForbidden},
		"Metadata, and more": {"", http.Header{"Metadata": {"true", "true"}}, http.StatusBadRequest},
	} {
		if status, body := fromMetadata(t, ask.from, ask.header); status != ask.want {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if _, err := check(t, t.TempDir(), atMetadata, Checker{}); err != nil {
		t.Errorf("the check, beside the service: %v", err)
	}
}

// boundTo is the device that a listener takes connections from.
func boundTo(t *testing.T, l net.Listener) (device string) {
	t.Helper()
	b, ok := l.(*boundedListener)
	if !ok {
		t.Fatalf("%T", l)
	}
	tcp, ok := b.Listener.(*net.TCPListener)
	if !ok {
		t.Fatalf("%T", b.Listener)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		device, failed = unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	})
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(device, "\x00")
}
