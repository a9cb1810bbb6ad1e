package canary_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/enclave-agent/cse"
	"github.com/openskr/openskr/internal/canary"
	"github.com/openskr/openskr/internal/simulate"
	"github.com/openskr/openskr/internal/simulate/simulatetest"
)

// machine is where the real programs run: a fake broker, simulated hardware, a folder of
// their own.
type machine struct {
	*testing.T
	broker  *agenttest.Broker
	options []string
	bin     string
	dir     string // working folder of the programs
	said    bytes.Buffer
}

// newMachine wants the programs as `make build` makes them, and root, who alone sees the
// memory of a process that hides it.
func newMachine(t *testing.T) *machine {
	t.Helper()
	bin := os.Getenv("OPENSKR_BIN")
	if bin == "" || os.Getuid() != 0 {
		t.Skip("make canary runs this, as root")
	}
	b := agenttest.Start(t)
	b.Trust.VaultSuffixes = []string{"example"} // that of agenttest.VaultURL
	b.Material = random()
	socket := simulatetest.Play(t, "snp", [simulate.SeedSize]byte{1}, simulate.Options{})
	return &machine{T: t, broker: b, bin: bin, dir: t.TempDir(), options: []string{
		"--config", b.TrustFile(t), "--platform", "simulated-snp", "--simulator", socket,
	}}
}

func random() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return b
}

// text is a secret that people would store, and that no other text looks like.
func text() string { return hex.EncodeToString(random()) }

// start starts a program, which ends when the test does.
func (m *machine) start(program string, args ...string) (*exec.Cmd, *bufio.Reader) {
	m.Helper()
	cmd := exec.Command(filepath.Join(m.bin, program), args...)
	cmd.Dir, cmd.Stderr = m.dir, &m.said
	cmd.Env = append(os.Environ(), "GOTRACEBACK=all", "TMPDIR="+m.dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		m.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, bufio.NewReader(out)
}

// clean scans a process that handed its secrets over, its folder and what it said. It has
// a second to clear them.
func (m *machine) clean(pid int, secrets ...[]byte) {
	m.Helper()
	k, err := canary.New(secrets...)
	if err != nil {
		m.Fatal(err)
	}
	found, err := k.Left(pid)
	if err != nil {
		m.Fatal(err)
	}
	files, err := k.Files(m.dir)
	if err != nil {
		m.Error(err)
	}
	for _, f := range append(append(found, files...), k.In(m.said.Bytes())...) {
		m.Error(f)
	}
}

// present wants the scan to find what is there, so that a clean one means something.
func (m *machine) present(pid int, secret []byte) {
	m.Helper()
	k, err := canary.New(secret)
	if err != nil {
		m.Fatal(err)
	}
	if found, err := k.Process(pid); err != nil || found == nil {
		m.Errorf("process %d has the secret by design, and the scan does not find it: %v", pid, err)
	}
}

// TestModeRun: the program has its secret by design; its supervisor has nothing, neither
// of the secret nor of the token that it was read with.
func TestModeRun(t *testing.T) {
	for option, found := range map[string]string{"--secret": "$SECRET", "--secret-file": "$(cat $SECRET_FILE)", "--secret-fd": "$(cat $SECRET_FILE)"} {
		m := newMachine(t)
		secret := text()
		m.broker.Material = []byte(text()) // the token
		m.broker.Secrets = map[string][]string{"s": {secret}}
		args := append([]string{"run", "--allow-swap"}, m.options...)
		cmd, out := m.start("openskr-workload", append(args, option, "SECRET=default/s", "--", "sh", "-c", `V="`+found+`"; echo $$ $V; cat`)...)
		var child int
		var got string
		if _, err := fmt.Fscan(out, &child, &got); err != nil || got != secret {
			t.Fatal(option, err, m.said.String())
		}
		m.present(child, []byte(secret))
		m.clean(cmd.Process.Pid, []byte(secret), m.broker.Material)
	}
}

// TestModeServe: a key that the local API has given to a program is gone from the server.
func TestModeServe(t *testing.T) {
	m := newMachine(t)
	socket, config := m.serving()
	cmd, _ := m.start("openskr-workload", append([]string{"serve", "--serve-config", config}, m.options...)...)
	got := m.keyRelease(socket)
	if !strings.Contains(got, base64.RawURLEncoding.EncodeToString(m.broker.Material)) {
		t.Fatalf("the key was not handed over: %s", m.said.String())
	}
	m.clean(cmd.Process.Pid, m.broker.Material)
}

// serving writes a configuration of the local API.
func (m *machine) serving() (socket, config string) {
	m.Helper()
	socket, config = filepath.Join(m.TempDir(), "api"), filepath.Join(m.TempDir(), "workload.json")
	js := fmt.Sprintf(`{"v":1,"socket":{"path":%q},"callers":[{"name":"test","user":"0","keys":[%q]}]}`, socket, agenttest.KeyURL)
	if err := os.WriteFile(config, []byte(js), 0o600); err != nil {
		m.Fatal(err)
	}
	return socket, config
}

// keyRelease asks the local API for the key, once it listens.
func (m *machine) keyRelease(socket string) string {
	m.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		for {
			c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
			if err == nil {
				return c, nil
			}
			select {
			case <-tick.C: // nothing tells when it listens
			case <-ctx.Done():
				return nil, err
			}
		}
	}}}
	host := strings.TrimPrefix(m.broker.Server.URL, "https://")
	body, err := json.Marshal(map[string]string{"maa_endpoint": host, "akv_endpoint": "vault.example", "kid": "disk", "access_token": ""})
	if err != nil {
		m.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(m.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/key/release", bytes.NewReader(body))
	if err != nil {
		m.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	rsp, err := client.Do(req)
	if err != nil {
		m.Fatal(err, m.said.String())
	}
	defer rsp.Body.Close()
	out, err := io.ReadAll(rsp.Body)
	if err != nil {
		m.Fatal(err)
	}
	return string(out)
}

// TestModeDecrypt: the released key is gone as soon as it has opened the content key, long
// before the end of a blob; and nothing of the plain text is in a file.
func TestModeDecrypt(t *testing.T) {
	m := newMachine(t)
	w, err := cse.NewAESWrapper(m.broker.Material)
	if err != nil {
		t.Fatal(err)
	}
	doc, key, err := cse.New(agenttest.KeyURL+"/"+agenttest.Version, w)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := doc.Marshal("test")
	if err != nil {
		t.Fatal(err)
	}
	plain := []byte(text())
	in := t.TempDir()
	var sealed bytes.Buffer
	if _, err := key.Encrypt(t.Context(), &sealed, io.LimitReader(repeat(plain), 40<<20)); err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(filepath.Join(in, "b.cse"), sealed.Bytes(), 0o600), os.WriteFile(filepath.Join(in, "b.json"), meta, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"decrypt", "--metadata", filepath.Join(in, "b.json"), filepath.Join(in, "b.cse"), "-"}, m.options...)
	cmd, out := m.start("openskr-workload", args...)
	first := make([]byte, len(plain))
	if _, err := io.ReadFull(out, first); err != nil || !bytes.Equal(first, plain) { // and no more: it waits
		t.Fatal(err, m.said.String())
	}
	m.present(cmd.Process.Pid, plain)
	m.clean(cmd.Process.Pid, m.broker.Material)
	k, err := canary.New(plain)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := k.Files(m.dir); found != nil || err != nil {
		t.Error(found, err)
	}
}

// TestModeEncrypt: the released key is gone as soon as it has wrapped the content key, long
// before the end of a blob.
func TestModeEncrypt(t *testing.T) {
	for _, kty := range []string{"oct", "RSA"} {
		t.Run(kty, func(t *testing.T) {
			m := newMachine(t)
			secrets := [][]byte{m.broker.Material}
			if kty != "oct" {
				_, secrets = m.private(kty)
			}
			m.encrypts(secrets)
		})
	}
}

func (m *machine) encrypts(secrets [][]byte) {
	in := filepath.Join(m.TempDir(), "in")
	if err := unix.Mkfifo(in, 0o600); err != nil {
		m.Fatal(err)
	}
	args := append([]string{"encrypt", in, "-", "--metadata", filepath.Join(m.dir, "meta"), "--key", agenttest.KeyURL}, m.options...)
	cmd, out := m.start("openskr-workload", args...)
	w, err := os.OpenFile(in, os.O_WRONLY, 0)
	if err != nil {
		m.Fatal(err)
	}
	defer w.Close()
	go func() { _, _ = io.Copy(w, io.LimitReader(repeat([]byte(text())), 40<<20)) }() // until the program waits for its reader
	if _, err := out.ReadByte(); err != nil {
		m.Fatal(err, m.said.String())
	}
	m.present(cmd.Process.Pid, []byte(agenttest.KeyURL)) // plain text is encrypted where it lies
	m.clean(cmd.Process.Pid, secrets...)
}

// repeat reads b for ever.
type repeater struct{ b, rest []byte }

func repeat(b []byte) io.Reader { return &repeater{b: b} }

func (r *repeater) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		r.rest = r.b
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
