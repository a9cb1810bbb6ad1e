package canary_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/enclave-agent/ageplugin"
)

// What tells this program, started by age, which plugin it stands in front of and whom
// it waits for.
const (
	relayed = "OPENSKR_TEST_PLUGIN"
	waiter  = "OPENSKR_TEST_WAITER"
)

// relay is the plugin as age sees it. The real one is behind it, and talks to age itself
// but for what age is told: the file key reaches it when the test has looked.
func relay() int {
	cmd := exec.Command(os.Getenv(relayed), os.Args[1:]...)
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		err = errors.Join(pass(bufio.NewReader(out), cmd.Process.Pid), cmd.Wait())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// pass gives age what the plugin says, line by line, a file key not before the test has
// closed what it was told of it by.
func pass(out *bufio.Reader, plugin int) error {
	for {
		line, err := out.ReadString('\n')
		if strings.HasPrefix(line, "-> file-key ") {
			var body string
			body, err = out.ReadString('\n')
			line += body
			c, derr := net.Dial("unix", os.Getenv(waiter))
			if derr != nil {
				return derr
			}
			fmt.Fprintln(c, plugin, strings.TrimSpace(body))
			_, _ = io.Copy(io.Discard, c)
		}
		if _, werr := io.WriteString(os.Stdout, line); werr != nil {
			return werr
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
	}
}

// TestModePlugin: Debian's age has been given the file key by age-plugin-openskr, which
// waits for what age says to that. It may hold the file key and nothing that led to it; age
// never has anything else.
func TestModePlugin(t *testing.T) {
	for _, kty := range []string{"EC", "RSA"} {
		t.Run(kty, func(t *testing.T) { newMachine(t).plugged(kty) })
	}
}

func (m *machine) plugged(kty string) {
	recipient, secrets := m.private(kty)
	plain := []byte(text())
	var sealed bytes.Buffer
	w, err := ageplugin.Encrypt(&sealed, recipient)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		m.Fatal(err)
	}
	made, want := m.onTheWay(kty, sealed.Bytes())
	secrets = append(secrets, made...)
	l, err := net.Listen("unix", filepath.Join(m.TempDir(), "waiter"))
	if err != nil {
		m.Fatal(err)
	}
	defer l.Close()
	var got bytes.Buffer
	age, ended := m.age(l, &sealed, &got)
	c, err := l.Accept()
	if err != nil {
		m.Fatal(errors.Join(err, <-ended), m.said.String())
	}
	defer c.Close()
	var plugin int
	var body string
	if _, err := fmt.Fscan(c, &plugin, &body); err != nil {
		m.Fatal(err, m.said.String())
	}
	key, err := base64.RawStdEncoding.DecodeString(body)
	if err != nil || want != nil && !bytes.Equal(key, want) {
		m.Fatal("age is not given the key of the file: ", err)
	}
	m.present(plugin, []byte(agenttest.KeyURL)) // the file key itself may be erased by now
	m.clean(plugin, secrets...)
	m.clean(age, secrets...)
	c.Close()
	if err := <-ended; err != nil || !bytes.Equal(got.Bytes(), plain) {
		m.Errorf("age has not decrypted the file: %v: %s", err, m.said.String())
	}
}

// onTheWay is what opening the file's stanza makes, and for EC what it opens to.
func (m *machine) onTheWay(kty string, file []byte) (secrets [][]byte, fileKey []byte) {
	m.Helper()
	if kty != "EC" {
		return nil, nil // OAEP masks the file key, with nothing but itself
	}
	_, stanza, _ := strings.Cut(string(file), "-> openskr EC ")
	_, stanza, _ = strings.Cut(stanza, "\n")
	stanza, _, _ = strings.Cut(stanza, "\n->")
	stanza, _, _ = strings.Cut(stanza, "\n---")
	message, err := base64.RawStdEncoding.DecodeString(strings.ReplaceAll(stanza, "\n", ""))
	if err != nil {
		m.Fatal(err)
	}
	return secretsOf(m.T, m.scalar(), chacha, []byte("openskr/age/v1 "+agenttest.KeyURL+"/"+agenttest.Version), message)
}

// age decrypts a file with this program for its plugin, which the real one is behind.
func (m *machine) age(l net.Listener, in io.Reader, out io.Writer) (pid int, ended <-chan error) {
	m.Helper()
	program, err := exec.LookPath("age")
	if err != nil {
		m.Skip("age is not installed: apt-get install -y age")
	}
	self, err := os.Executable()
	if err != nil {
		m.Fatal(err)
	}
	front, behind := m.TempDir(), filepath.Join(m.TempDir(), ageplugin.Program)
	workload := filepath.Join(m.bin, "openskr-workload")
	err = errors.Join(os.Symlink(self, filepath.Join(front, ageplugin.Program)), os.Symlink(workload, behind))
	if err != nil {
		m.Fatal(err)
	}
	identity, err := exec.Command(workload, append([]string{"age", "identity", "--key", agenttest.KeyURL}, m.options...)...).Output()
	if err != nil {
		m.Fatal(err)
	}
	file := filepath.Join(front, "identity.txt")
	if err := os.WriteFile(file, identity, 0o600); err != nil {
		m.Fatal(err)
	}
	cmd := exec.Command(program, "-d", "-i", file)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = m.dir, in, out, &m.said
	cmd.Env = append(os.Environ(), "GOTRACEBACK=all", "TMPDIR="+m.dir, "PATH="+front, relayed+"="+behind, waiter+"="+l.Addr().String())
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- cmd.Wait()
		l.Close() // what ends early has nobody wait for it
	}()
	m.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd.Process.Pid, done
}
