package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/enclave-agent/agenttest"
)

// metadata is of a blob whose key is asked for before a byte of it is read.
const metadata = `{"WrappedContentKey":{"KeyId":"` + agenttest.KeyURL + `","EncryptedKey":"AAAA","Algorithm":"A256KW"},` +
	`"EncryptionAgent":{"Protocol":"2.0","EncryptionAlgorithm":"AES_GCM_256"},"EncryptedRegionInfo":{"DataLength":4194304,"NonceLength":12}}`

// A signal that ends decrypting leaves nothing, SIGKILL neither, and one that nohup has it ignore does not
// end it.
func TestDecryptEnded(t *testing.T) {
	for name, c := range map[string]struct {
		ignored string
		signals []syscall.Signal
		says    string
	}{
		"terminated": {"", []syscall.Signal{unix.SIGTERM}, "terminated"},
		"interrupt":  {"", []syscall.Signal{unix.SIGINT}, "interrupt"},
		"quit":       {"", []syscall.Signal{unix.SIGQUIT}, "quit"},
		"hangup":     {"", []syscall.Signal{unix.SIGHUP}, "hangup"},
		"killed":     {"", []syscall.Signal{unix.SIGKILL}, ""},
		"nohup":      {"HUP", []syscall.Signal{unix.SIGHUP, unix.SIGTERM}, "terminated"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newBed(t)
			dir, asked := t.TempDir(), make(chan bool)
			if fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY, 0o600); err == nil {
				_ = unix.Close(fd)
			} else if c.says == "" {
				t.Skip("this file system has no files without a name:", err)
			}
			about := filepath.Join(t.TempDir(), "metadata")
			if err := os.WriteFile(about, []byte(metadata), 0o600); err != nil {
				t.Fatal(err)
			}
			m.b.Change(func() { m.b.Intercept = m.hang("/v1/challenge", asked) })
			args := append(append([]string{"decrypt"}, m.common...), "--metadata", about, "-", filepath.Join(dir, "plain"))
			cmd := exec.Command("openskr-workload", args...)
			if c.ignored != "" {
				cmd = exec.Command("sh", append([]string{"-c", `trap "" ` + c.ignored + `; exec openskr-workload "$@"`, "sh"}, args...)...)
			}
			stdin, errIn := cmd.StdinPipe()
			errs, err := cmd.StderrPipe()
			if err != nil || errIn != nil || cmd.Start() != nil {
				t.Fatal(errIn, err)
			}
			defer stdin.Close()
			if _, err := stdin.Write(make([]byte, 4<<10)); err != nil { // and no more
				t.Fatal(err)
			}
			<-asked
			for _, s := range c.signals {
				if err := cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
			}
			clock := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
			defer clock.Stop()
			said, _ := io.ReadAll(errs)
			if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() != (c.says != "") || c.says != "" && !strings.Contains(string(said), c.says+" signal received") {
				t.Errorf("%v: %s", err, said)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// Who waits for the first byte of a pipe can be ended, too.
func TestEndedWhileNothingComes(t *testing.T) {
	for _, command := range []string{"decrypt", "encrypt"} {
		t.Run(command, func(t *testing.T) {
			m := newBed(t)
			pipe := filepath.Join(t.TempDir(), "pipe")
			if err := unix.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			args := append(append([]string{command}, m.common...), "--key", agenttest.KeyURL, pipe, filepath.Join(t.TempDir(), "out"))
			cmd := exec.Command("openskr-workload", args...)
			errs, err := cmd.StderrPipe()
			if err != nil || cmd.Start() != nil {
				t.Fatal(err)
			}
			clock := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
			defer clock.Stop()
			w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // when it has opened its end
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			said, _ := io.ReadAll(errs)
			if err := cmd.Wait(); err == nil || !cmd.ProcessState.Exited() {
				t.Errorf("%v: %s", err, said)
			}
		})
	}
}
