package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/internal/canary"
)

// AG-05: wherever a broker sends the agent, it does not go, and nothing arrives there.
func TestRedirectsLeadNowhere(t *testing.T) {
	b := agenttest.Start(t)
	arrived := 0
	count := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived++ })
	plain, other := httptest.NewServer(count), run(t, httptest.NewUnstartedServer(count))
	t.Cleanup(plain.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, path := range []string{"/v1/enroll", "/v1/challenge", "/v1/release"} {
			for _, to := range []string{plain.URL, other.URL, "http://169.254.169.254/latest/meta-data/", b.Server.URL + "/elsewhere"} {
				asked := 0
				b.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/elsewhere" {
						arrived++
					}
					if r.URL.Path != path {
						return false
					}
					asked++
					http.Redirect(w, r, to, status)
					return true
				}
				a := newAgent(t, b, nil)
				r, err := a.Key(t.Context(), agenttest.KeyURL)
				var found *Invalid
				if !errors.As(err, &found) || found.Check != "redirect" || r != nil || asked != 1 {
					t.Errorf("%d from %s to %s: %v after %d requests", status, path, to, err, asked)
				}
			}
		}
	}
	if arrived != 0 {
		t.Errorf("%d requests were redirected", arrived)
	}
}

// AG-15, AG-23: a broker that is slow, silent or endless ends with the agent's time, and a
// broker after it in the list is not asked for what the first one decided.
func TestSlowBrokers(t *testing.T) {
	drip := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"response":"`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	headers := func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, err = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		for err == nil {
			_, err = io.WriteString(c, "A: "+strings.Repeat("a", 1000)+"\r\n")
		}
	}
	for name, h := range map[string]http.HandlerFunc{"drips": drip, "endless header": headers} {
		b := agenttest.Start(t)
		a := newAgent(t, b, nil)
		if _, err := a.Enroll(t.Context()); err != nil {
			t.Fatal(err)
		}
		answer(b, "/v1/release", h)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		r, err := a.Key(ctx, agenttest.KeyURL)
		cancel()
		if r != nil || ExitCode(err) != ExitUnreachable {
			t.Errorf("%s: %v: exit %d", name, err, ExitCode(err))
		}
	}
}

// A server that accepts and says nothing is not told anything but a TLS hello.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heard, done := make(chan []byte, 1), make(chan struct{})
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(heard)
			return
		}
		defer c.Close()
		b := make([]byte, 16<<10)
		n, _ := c.Read(b)
		<-done
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		more, _ := c.Read(b[n:])
		heard <- b[:n+more]
	}()
	b := agenttest.Start(t)
	b.Trust.URLs = []string{"https://" + l.Addr().String()}
	a := newAgent(t, b, func(c *Config) { c.Timeout = 300 * time.Millisecond })
	_, err = a.Key(t.Context(), agenttest.KeyURL)
	close(done)
	l.Close()
	said := <-heard
	if ExitCode(err) != ExitUnreachable || len(said) == 0 || said[0] != 22 || bytes.Contains(said, []byte("nonce")) {
		t.Errorf("%v; the server heard %d bytes", err, len(said))
	}
}

// AG-07: whoever lies, no byte of a key is written to a file.
func TestLiesWriteNothing(t *testing.T) {
	b := agenttest.Start(t)
	a := newAgent(t, b, nil)
	in, dir := sealed(t, b, []byte("plain")), t.TempDir()
	header := b.Header
	for name, l := range lies(t) {
		b.Challenge, b.Record, b.Receipt, b.Wrapped, b.Response, b.JWS = nil, nil, nil, nil, nil, nil
		b.Header, b.SignWith, b.LogWith = header, nil, nil
		l.tell(b)
		if _, err := a.Decrypt(t.Context(), in, filepath.Join(dir, "out"), ""); ExitCode(err) != ExitInvalid {
			t.Errorf("%s: %v", name, err)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
			t.Fatalf("%s: left behind: %v, %v", name, files, err)
		}
	}
}

// AG-09: a program that dies with a key in its memory leaves no core, and what it says on
// the way has no byte of the key, though whoever started it asks for both.
func TestDeathLeavesNoKey(t *testing.T) {
	const good = `{"type":"simulated-snp","evidence":{"type":"simulated-snp"},"endorsements":[]}` + "\n"
	soft := device(t, says(good))
	for _, sig := range []syscall.Signal{syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGQUIT, syscall.SIGBUS, syscall.SIGTRAP} {
		b := canaryBroker(t)
		k, err := canary.New(b.Material)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", string(attest.TypeSNP.Simulated()), soft, string(P256), agenttest.KeyURL)
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "OPENSKR_TEST_CANARY="+b.TrustFile(t), "OPENSKR_TEST_HOLD=1", "GOTRACEBACK=crash")
		var said bytes.Buffer
		cmd.Stderr = &said
		key, _ := handedOver(t, cmd), handedOver(t, cmd)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for _, w := range cmd.ExtraFiles {
			w.Close()
		}
		if line, _ := bufio.NewReader(out).ReadString('\n'); line != "holding\n" {
			t.Fatalf("%q: %s", line, said.String())
		}
		if found, err := k.Process(cmd.Process.Pid); err != nil || found == nil {
			t.Errorf("%v: the key is not in memory at all, so this proves nothing: %v", sig, err)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		err = cmd.Wait()
		in.Close()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).CoreDump() {
			t.Errorf("%v: %v", sig, err)
		}
		found, ferr := k.Files(cmd.Dir)
		if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) > 0 || ferr != nil {
			t.Errorf("%v: left behind: %v, %v %v", sig, left, err, ferr)
		}
		if found = append(found, k.In(said.Bytes())...); found != nil {
			t.Errorf("%v: %v", sig, found)
		}
		if got := all(t, key); !bytes.Equal(got, b.Material) {
			t.Errorf("%v: the key was not handed over", sig)
		}
	}
}

// AG-17: settings of the environment that Go's libraries know change nothing.
func TestEnvironmentIsIgnored(t *testing.T) {
	for name, value := range map[string]string{
		"HTTPS_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1", "SSL_CERT_FILE": "/dev/null", "SSL_CERT_DIR": "/nowhere",
		"SSLKEYLOGFILE": filepath.Join(t.TempDir(), "keys"), "AZURE_AUTHORITY_HOST": "http://127.0.0.1:1",
	} {
		t.Setenv(name, value)
	}
	r, err := newAgent(t, agenttest.Start(t), nil).Key(t.Context(), agenttest.KeyURL)
	if err != nil {
		t.Fatal(err)
	}
	r.Material.Close()
	if _, err := os.Stat(os.Getenv("SSLKEYLOGFILE")); err == nil {
		t.Error("secrets of TLS were written to a file")
	}
}

// AG-16: nothing but hardware is believed to be hardware, and the exit code says so.
func TestNoHardware(t *testing.T) {
	b := agenttest.Start(t)
	sock := device(t, says(fmt.Sprintln("hello")))
	for name, h := range map[string]Hardware{
		"nothing found":           {Root: t.TempDir(), TPM: filepath.Join(t.TempDir(), "absent")},
		"named and absent":        {Platform: attest.TypeSNP, Root: t.TempDir()},
		"tdx and absent":          {Platform: attest.TypeTDX, Root: t.TempDir()},
		"nitro and absent":        {Platform: attest.TypeNitro, Root: t.TempDir()},
		"a file is no TPM":        {Platform: attest.TypeTPM, TPM: b.TrustFile(t)},
		"a simulator, not asked":  {Simulator: sock, Root: t.TempDir(), TPM: filepath.Join(t.TempDir(), "absent")},
		"a simulator, other name": {Platform: attest.TypeSNP, Simulator: sock, Root: t.TempDir()},
	} {
		a, err := New(t.Context(), Config{Trust: &b.Trust, Hardware: h})
		if err == nil {
			_, err = a.Key(t.Context(), agenttest.KeyURL)
			a.Close()
		}
		if c := ExitCode(err); c != ExitNoHardware && !errors.Is(err, ErrConfig) || b.Releases > 0 {
			t.Errorf("%s: %v: exit %d, %d releases", name, err, c, b.Releases)
		}
	}
}
