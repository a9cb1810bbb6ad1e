package canary_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/enclave-agent/file"
	"github.com/openskr/openskr/internal/canary"
)

// kept scans a process that still holds its key, which is to be in pages made for it and
// nowhere else.
func (m *machine) kept(pid int, key []byte) {
	m.Helper()
	m.present(pid, key)
	k, err := canary.New(key)
	if err != nil {
		m.Fatal(err)
	}
	found, err := k.Astray(pid)
	if err != nil {
		m.Fatal(err)
	}
	for _, f := range append(found, k.In(m.said.Bytes())...) {
		m.Error(f)
	}
}

// TestModeAgentDecrypt: the released key is gone once it has opened the file, long before
// the end of it. The file is a pipe, in which the last byte does not come.
func TestModeAgentDecrypt(t *testing.T) {
	m := newMachine(t)
	var sealed bytes.Buffer
	plain := bytes.Repeat([]byte("plain"), file.ChunkSize)
	if err := file.Encrypt(&sealed, bytes.NewReader(plain), agenttest.KeyURL+"/"+agenttest.Version, m.broker.Material); err != nil {
		t.Fatal(err)
	}
	in, out := filepath.Join(t.TempDir(), "in"), filepath.Join(t.TempDir(), "out")
	if err := unix.Mkfifo(in, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, said := m.start("openskr-agent", append([]string{"decrypt", in, "--out", out}, m.options...)...)
	w, err := os.OpenFile(in, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	last := sealed.Len() - 1
	if _, err := w.Write(sealed.Bytes()[:last]); err != nil { // all but what a pipe holds was read
		t.Fatal(err, m.said.String())
	}
	m.clean(cmd.Process.Pid, m.broker.Material)
	_, err = w.Write(sealed.Bytes()[last:])
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	if line, err := io.ReadAll(said); err != nil || !bytes.Contains(line, []byte(out)) {
		t.Fatalf("%v: %s%s", err, line, m.said.String())
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, plain) {
		t.Error("the file is not what was encrypted", err)
	}
}

// What tells this program that it is cryptsetup: its path, as openskr-agent calls it.
const (
	cryptsetup = "/usr/sbin/cryptsetup"
	realOne    = "/run/cryptsetup" // in the same namespace
	pauses     = "/run/pauses"     // socket on which it waits
)

// standIn is cryptsetup, once the test has looked at who calls it. It opens no volume:
// the kernel may have no device mapper.
func standIn() int {
	c, err := net.Dial("unix", pauses)
	if err == nil {
		_, err = io.Copy(io.Discard, c)
	}
	if err == nil && os.Args[1] == "open" && !slices.Contains(os.Args, "--test-passphrase") {
		return 0
	}
	if err == nil {
		err = unix.Exec(realOne, os.Args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// TestModeDisks: while cryptsetup has a key, which `seal-disk` and `unlock` gave it, the
// agent has it in pages of its own alone.
func TestModeDisks(t *testing.T) {
	if os.Getenv(inside) == "" {
		secluded(t)
		return
	}
	seclude(t)
	m := newMachine(t)
	disk := m.disk()
	l := m.standsIn()
	defer l.Close()
	out := m.paused(l, 3, append([]string{"seal-disk", disk, "--key", agenttest.KeyURL, "--no-recovery", "--json"}, m.options...)...)
	m.record(out)
	out = m.paused(l, 1, append([]string{"unlock", "--name", "root", "--device", disk, "--key", agenttest.KeyURL, "--recovery", "off", "--no-cap"}, m.options...)...)
	if !bytes.Contains(out, []byte("/dev/mapper/root")) {
		t.Errorf("not unlocked: %s", out)
	}
}

// standsIn puts this program in cryptsetup's place, for this namespace, and gives what
// its runs wait for.
func (m *machine) standsIn() net.Listener {
	m.Helper()
	self, err := os.Executable()
	if err != nil {
		m.Fatal(err)
	}
	f, err := os.Create(realOne)
	if err := errors.Join(err, f.Close(), unix.Mount(cryptsetup, realOne, "", unix.MS_BIND, ""), unix.Mount(self, cryptsetup, "", unix.MS_BIND, "")); err != nil {
		m.Fatal(err)
	}
	l, err := net.Listen("unix", pauses)
	if err != nil {
		m.Fatal(err)
	}
	return l
}

// paused runs openskr-agent and looks at it each time that it runs cryptsetup, which it
// does with the key for so many times at least. It gives what the agent printed.
func (m *machine) paused(l net.Listener, least int, args ...string) []byte {
	m.Helper()
	cmd, out := m.start("openskr-agent", args...)
	ended := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(out)
		ended <- b
		_ = l.(*net.UnixListener).SetDeadline(time.Unix(1, 0)) // wakes Accept
	}()
	k, err := canary.New(m.broker.Material)
	if err != nil {
		m.Fatal(err)
	}
	held := 0
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		found, err := k.Process(cmd.Process.Pid)
		if err != nil {
			m.Fatal(err)
		}
		if found != nil {
			held++
			m.kept(cmd.Process.Pid, m.broker.Material)
		}
		c.Close()
	}
	if held < least {
		m.Errorf("%s: cryptsetup ran %d times while the key was there, want %d", args[0], held, least)
	}
	_ = l.(*net.UnixListener).SetDeadline(time.Time{})
	if err := cmd.Wait(); err != nil {
		m.Errorf("%s: %v: %s", args[0], err, m.said.String())
	}
	return <-ended
}
