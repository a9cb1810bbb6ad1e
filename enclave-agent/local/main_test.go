package local

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/openskr/openskr/attest"
	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/release/receipt"
)

// other is the number of a user that is neither root nor this one.
const other = 65533

// TestMain is also the program of another user, which asks what its environment says.
func TestMain(m *testing.M) {
	if socket := os.Getenv("OPENSKR_TEST_SOCKET"); socket != "" {
		os.Exit(stranger(socket))
	}
	if os.Getenv("OPENSKR_TEST_NETWORK") != "" { // this process has a network of its own
		if err := loopback(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// stranger asks for the status and prints the answer.
func stranger(socket string) int {
	r, err := over(socket).Get("http://localhost/status")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer r.Body.Close()
	_, err = io.Copy(os.Stdout, io.MultiReader(strings.NewReader(r.Status+" "), r.Body))
	if err != nil {
		return 1
	}
	return 0
}

// over is a client of a socket.
func over(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
}

// as runs this test program as another user, or in other namespaces, against a socket.
func as(t *testing.T, socket string, attr *syscall.SysProcAttr) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it runs a program as another user")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(shortDir(t), "test") // others do not reach the build's folder
	b, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(copied, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), copied)
	c.Env, c.SysProcAttr, c.Dir = []string{"OPENSKR_TEST_SOCKET=" + socket}, attr, "/"
	out, err := c.CombinedOutput()
	if e := (*exec.ExitError)(nil); err != nil && !errors.As(err, &e) {
		t.Fatal(err)
	}
	return string(out)
}

// shortDir is a folder that others may pass through, with a name that leaves room for
// that of a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "l")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// logged keeps what was logged.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newLog(l *logged) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// fake is an agent that has one key. It counts what it was asked.
type fake struct {
	mu    sync.Mutex
	asked []string
	err   error
	// hold, when not nil, is waited for before a key is given.
	hold chan struct{}
	kty  string
	key  []byte
	// given are the materials of what was released, which the server closes.
	given []*agent.Secret
	life  string // claims of its tokens
}

func (f *fake) Key(ctx context.Context, keyURL string) (*agent.Released, error) {
	if err := f.note("key " + keyURL); err != nil {
		return nil, err
	}
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s, err := agent.NewSecret(len(f.key))
	if err != nil {
		return nil, err
	}
	copy(s.Bytes(), f.key)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.given = append(f.given, s)
	return &agent.Released{Material: s, KID: keyURL, Kty: f.kty}, nil
}

func (f *fake) Token(_ context.Context, vaultURL string) (*agent.Released, error) {
	if err := f.note("token " + vaultURL); err != nil {
		return nil, err
	}
	token := []byte("e30." + base64.RawURLEncoding.EncodeToString([]byte(f.life)) + ".sig")
	s, err := agent.NewSecret(len(token))
	if err != nil {
		return nil, err
	}
	copy(s.Bytes(), token)
	return &agent.Released{Material: s, KID: vaultURL}, nil
}

func (f *fake) HardwareReport(_ context.Context, runtimeData []byte) (*agent.HardwareReport, error) {
	if err := f.note("report " + string(runtimeData)); err != nil {
		return nil, err
	}
	raw := make([]byte, 1184)
	copy(raw[0x180:], "\x03\x00\x00\x00\x00\x00\x08\x73")
	return &agent.HardwareReport{Platform: attest.TypeSNP, Raw: raw, Chain: []byte("PEM")}, nil
}

func (f *fake) AttestationToken(_ context.Context, broker string, runtimeData []byte) (string, error) {
	return "a.b.c", f.note("maa " + broker + " " + string(runtimeData))
}

func (f *fake) note(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, what)
	return f.err
}

func (f *fake) calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}

// served is a running server with a fake agent, or another.
type served struct {
	*Server
	dir string
	log logged
}

// serve runs the configuration until the test ends. %DIR% in it is a new folder.
func serve(t *testing.T, a Agent, config string) *served {
	t.Helper()
	s := &served{dir: shortDir(t)}
	c, err := ParseConfig([]byte(strings.ReplaceAll(config, "%DIR%", s.dir)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "token"), []byte(testToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Server, err = New(c, Options{
		Agent: a, Trust: testTrust(),
		Log: newLog(&s.log),
	})
	if err == nil {
		err = s.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// testTrust has two brokers, and the vaults of these tests.
func testTrust() *receipt.Trust {
	return &receipt.Trust{
		URLs:          []string{"https://broker.example:8443", "https://second.example"},
		VaultSuffixes: []string{"example", "vault.example:8443", "other.example"},
	}
}

const testToken = "0123456789abcdef0123456789abcdef-token"

// sock is the path of the socket in [onSocket].
func (s *served) sock() string { return filepath.Join(s.dir, "s", "api") }

// onSocket is a configuration with callers on a socket.
func onSocket(callers string) string {
	return `{"v":1,"socket":{"path":"%DIR%/s/api"},"callers":[` + callers + `]}`
}

// me is a caller that is this process.
func me(rights string) string {
	return fmt.Sprintf(`{"name":"me","user":"%d","group":"%d"%s}`, os.Getuid(), os.Getgid(), rights)
}

const (
	mayKey      = `,"keys":["` + agenttest.KeyURL + `"]`
	mayEvidence = `,"evidence":true`
	keyBody     = `{"maa_endpoint":"broker.example:8443","akv_endpoint":"vault.example","kid":"disk","access_token":"unused"}`
)

// post sends a body over the socket and gives status and answer.
func (s *served) post(t testing.TB, path, body string) (int, string) {
	t.Helper()
	r, err := over(s.sock()).Post("http://localhost"+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// closed says that all materials given were cleared.
func (f *fake) closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !slices.ContainsFunc(f.given, func(s *agent.Secret) bool { return s.Bytes() != nil })
}
