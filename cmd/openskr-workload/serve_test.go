package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/attest/tpm/guest"
	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/internal/canary"
)

// serving is `openskr-workload serve` with a configuration.
type serving struct {
	*bed
	cmd *exec.Cmd
	dir string
	log *bufio.Reader
}

// serve starts it and waits until it says that it serves. %DIR% stands for a folder,
// notify is systemd's socket.
func (m *bed) serve(config, notify string) *serving {
	m.Helper()
	dir, err := os.MkdirTemp("", "s") // a test's own may be too long for a socket
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "workload.json")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, "%DIR%", dir)), 0o600); err != nil {
		m.Fatal(err)
	}
	s := &serving{bed: m, dir: dir}
	s.cmd = exec.Command("openskr-workload", append([]string{"serve", "--serve-config", file}, m.common...)...)
	s.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	errs, err := s.cmd.StderrPipe()
	if err != nil {
		m.Fatal(err)
	}
	s.log = bufio.NewReader(errs)
	if err := s.cmd.Start(); err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
		}
	})
	s.says("msg=serving")
	return s
}

// says reads the log up to a line with that.
func (s *serving) says(text string) string {
	s.Helper()
	var all strings.Builder
	for {
		line, err := s.log.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			s.Fatalf("the log ends without %q: %s", text, &all)
		}
		if strings.Contains(line, text) {
			return line
		}
	}
}

// ask posts to the socket and reads until the connection ends.
func (s *serving) ask(path, body string) string {
	s.Helper()
	c, err := net.Dial("unix", filepath.Join(s.dir, "run", "api"))
	if err != nil {
		s.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	answer, err := io.ReadAll(c)
	if err != nil {
		s.Fatal(err)
	}
	return string(answer)
}

// ends stops it as systemd does.
func (s *serving) ends() {
	s.Helper()
	if err := s.cmd.Process.Signal(unix.SIGTERM); err != nil {
		s.Fatal(err)
	}
	rest, _ := io.ReadAll(s.log)
	if err := s.cmd.Wait(); err != nil {
		s.Errorf("%v: %s", err, rest)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "run", "*")); left != nil {
		s.Errorf("left behind: %v", left)
	}
}

func mine(rights string) string {
	return fmt.Sprintf(`{"v":1,"socket":{"path":"%%DIR%%/run/api"},"callers":[{"name":"me","user":"%d"%s}]}`, os.Getuid(), rights)
}

func (s *serving) release() string {
	s.Helper()
	host := strings.TrimPrefix(s.b.Server.URL, "https://")
	return s.ask("/key/release", fmt.Sprintf(`{"maa_endpoint":%q,"akv_endpoint":"vault.example","kid":"disk"}`, host))
}

// TestServeHoldsNothing: no byte of a key is left in the program when its answer has been
// read, whatever the type of the key, nor in its log or in a file.
func TestServeHoldsNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("reads the memory of another process, which needs root")
	}
	if !guest.Erases {
		t.Skip("this build clears only what it can; make canary builds the one that erases")
	}
	for _, kty := range []string{"oct", "RSA", "EC"} {
		t.Run(kty, func(t *testing.T) {
			m := newBed(t)
			material, private := newMaterial(t, kty)
			m.b.Change(func() { m.b.Material, m.b.Kty = material, kty })
			look, err := canary.New(private...)
			if err != nil {
				t.Fatal(err)
			}
			s := m.serve(mine(`,"keys":["`+agenttest.KeyURL+`"]`), "")
			for range 3 {
				answer := s.release()
				if !strings.HasPrefix(answer, "HTTP/1.1 200 OK\r\n") || len(look.In([]byte(answer))) == 0 {
					t.Fatalf("no key: %s", answer)
				}
				if line := s.says("key released"); len(look.In([]byte(line))) != 0 {
					t.Errorf("in the log: %s", line)
				}
			}
			if found, err := look.Left(s.cmd.Process.Pid); err != nil || len(found) != 0 {
				t.Errorf("in memory: %.2000s, %v", found, err)
			}
			if found, err := look.Files(s.dir); err != nil || len(found) != 0 {
				t.Errorf("on disk: %v, %v", found, err)
			}
			s.ends()
		})
	}
}

// newMaterial makes a key as a broker releases it, and what of it is private.
func newMaterial(t *testing.T, kty string) (material []byte, private [][]byte) {
	t.Helper()
	var key any
	switch kty {
	case "oct":
		material = make([]byte, 32)
		_, _ = rand.Read(material)
		return material, [][]byte{bytes.Clone(material)}
	case "RSA":
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		key, private = k, [][]byte{k.D.Bytes()[:64], k.Primes[0].Bytes()[:64], k.Primes[1].Bytes()[:64]}
	default:
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		d, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		key, private = k, [][]byte{d}
	}
	material, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return material, private
}

// Both halves of the service begin and end together, and systemd is told when.
func TestServe(t *testing.T) {
	m := newBed(t)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@openskr-test-" + rand.Text(), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	config := strings.Replace(mine(`,"keyprovider":true`), `"callers"`, `"keyprovider":{"address":"unix:%DIR%/run/kp","keys":["`+agenttest.KeyURL+`"]},"callers"`, 1)
	s := m.serve(config, notify.LocalAddr().String())
	c, err := net.Dial("unix", filepath.Join(s.dir, "run", "kp"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ready := make([]byte, 64)
	if n, err := notify.Read(ready); err != nil || string(ready[:n]) != "READY=1" {
		t.Errorf("systemd is told %q, %v", ready[:n], err)
	}
	if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	if b := make([]byte, 9); first(io.ReadFull(c, b)) != 9 || b[3] != 4 { // SETTINGS of RFC 9113 §6.5
		t.Errorf("no HTTP/2: %x", b)
	}
	if answer := s.release(); !strings.HasPrefix(answer, "HTTP/1.1 403 ") {
		t.Errorf("a key that nobody allowed: %s", answer)
	}
	s.says("refused")
	s.ends()
}

func first(n int, _ error) int { return n }

func TestServeConfig(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) string {
		path := filepath.Join(dir, "workload.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := strings.ReplaceAll(mine(""), "%DIR%", dir)
	var out, errs bytes.Buffer
	for what, c := range map[string]struct{ config, agent string }{
		"nobody is served": {`{"v":1,"callers":[]}`, dir + "/absent"},
		"no agent.json":    {config, dir + "/absent"},
	} {
		errs.Reset()
		if code := run(t.Context(), []string{"serve", "--serve-config", write(c.config), "--config", c.agent}, nil, &out, &errs); code != agent.ExitUsage || errs.Len() == 0 {
			t.Errorf("%s: exit %d: %s", what, code, &errs)
		}
	}
	if code := run(t.Context(), []string{"serve", "--serve-config", dir + "/absent"}, nil, &out, &errs); code != agent.ExitUsage {
		t.Errorf("no file: exit %d: %s", code, &errs)
	}
}

// systemd listens, and hands the socket over as descriptor 3.
func TestServeActivated(t *testing.T) {
	m := newBed(t)
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "run", "api")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	handed, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer handed.Close()
	config := filepath.Join(dir, "workload.json")
	text := strings.Replace(mine(`,"keys":["`+agenttest.KeyURL+`"]`), `"path":"%DIR%/run/api"`, ``, 1)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// exec keeps the process number, which the variable must name.
	args := append([]string{"-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec openskr-workload "$@"`, "sh", "serve", "--serve-config", config}, m.common...)
	s := &serving{bed: m, dir: dir, cmd: exec.Command("sh", args...)}
	s.cmd.ExtraFiles = []*os.File{handed}
	errs, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.log = bufio.NewReader(errs)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
		}
	})
	if answer := s.release(); !strings.HasPrefix(answer, "HTTP/1.1 200 OK\r\n") { // before it listens: systemd does
		t.Errorf("%s", answer)
	}
	if err := s.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(s.log)
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, rest)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("systemd's socket is gone: %v", err)
	}
}
