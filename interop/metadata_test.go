package interop

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"golang.org/x/sys/unix"
)

// TestMetadataService: Azure's library, which is told nothing by its environment, finds
// the machine's identity at 169.254.169.254. All of it runs in a network of its own, so
// that no other program of this machine finds it there; the broker stays outside.
func TestMetadataService(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes a network namespace")
	}
	b := suite.broker
	dir, err := os.MkdirTemp("", "imds") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	policy := filepath.Join(dir, "snp.rego")
	rego := "package release\n\ndefault allow := false\n\nallow if input.evidence.type == \"simulated-snp\"\n"
	config, err := json.Marshal(map[string]any{"v": 1, "callers": []any{map[string]any{
		"name": "app", "identity": map[string]any{"address": "169.254.169.254:80", "metadata": true}, "vaults": []string{b.Vault},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{policy: []byte(rego), filepath.Join(dir, "workload.json"): config} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secret, value := fresh("metadata"), rand.Text()
	set(t, secretsClient(t, admin()), secret, azsecrets.SetSecretParameters{Value: &value})
	must2(t)(b.Run(t.Context(), "attested-role", "add", secret, "--role", "Key Vault Secrets User", "--scope", "/vaults/sdk/secrets/"+secret, "--policy", policy))
	m, err := b.StartMachine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	proxy, err := url.Parse(suite.proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []string{b.Port, proxy.Port()} {
		bridge(t, "unix", filepath.Join(dir, port), "tcp", "127.0.0.1:"+port)
	}
	c := exec.CommandContext(t.Context(), os.Args[0], workload(t), "serve", "--config", filepath.Join(b.Dir, "agent.json"), "--serve-config",
		filepath.Join(dir, "workload.json"), "--platform", "simulated-snp", "--simulator", m.Socket())
	c.Env = append(os.Environ(), "OPENSKR_VAULT="+b.Vault, "OPENSKR_TEST_NETWORK="+dir, "OPENSKR_TEST_PORTS="+b.Port+" "+proxy.Port(), "OPENSKR_TEST_SECRET="+secret)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("no right to make a network namespace")
	}
	if err != nil || strings.TrimSpace(string(out)) != value {
		t.Errorf("%s, %v\n%s", out, err, &stderr)
	}
}

// bridge hands connections at one address on to another, until the test ends.
func bridge(t testing.TB, network, address, toNetwork, to string) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go forward(l, toNetwork, to)
}

func forward(l net.Listener, network, to string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			far, err := net.Dial(network, to)
			if err != nil {
				return
			}
			defer far.Close()
			go func() {
				_, _ = io.Copy(far, c)
				_ = far.Close()
			}()
			_, _ = io.Copy(c, far)
		}()
	}
}

// alone is this program in a network of its own: it has lo with the address, the ways out
// that the folder has, the service that args start, and reads the secret.
func alone(dir string, args []string) int {
	err := addresses()
	for _, port := range strings.Fields(os.Getenv("OPENSKR_TEST_PORTS")) {
		var l net.Listener
		if err == nil {
			if l, err = net.Listen("tcp", "127.0.0.1:"+port); err == nil {
				go forward(l, "unix", filepath.Join(dir, port))
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	serve := exec.CommandContext(ctx, args[0], args[1:]...)
	serve.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := serve.StderrPipe()
	if err == nil {
		err = serve.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.Contains(lines.Text(), "msg=serving") {
		fmt.Fprintln(os.Stderr, lines.Text())
	}
	go func() { _, _ = io.Copy(os.Stderr, log) }()
	code := readAlone(os.Getenv("OPENSKR_TEST_SECRET"))
	stop()
	_ = serve.Wait() // it was killed
	return code
}

// addresses brings up lo and gives it 169.254.169.254, as an administrator does.
func addresses() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	alias, err := unix.NewIfreq("lo:1")
	if err == nil {
		err = alias.SetInet4Addr([]byte{169, 254, 169, 254})
	}
	return errors.Join(err, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo), unix.IoctlIfreq(fd, unix.SIOCSIFADDR, alias))
}
