package canary_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/containers/ocicrypt/config"
	ocicrypt "github.com/containers/ocicrypt/keywrap/keyprovider"
	"golang.org/x/sys/unix"

	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/enclave-agent/keyprovider"
)

// TestModeKeyProviderCommand: a program that ocicrypt starts for one layer ends without
// the key of the image and without that of the layer, wrapping and unwrapping.
func TestModeKeyProviderCommand(t *testing.T) {
	for _, kty := range []string{"oct", "EC", "RSA"} {
		t.Run(kty, func(t *testing.T) {
			m := newMachine(t)
			secrets := [][]byte{m.broker.Material}
			if kty != "oct" {
				_, secrets = m.private(kty)
			}
			layer := random()
			secrets = append(secrets, layer, []byte(base64.StdEncoding.EncodeToString(layer)))
			to, err := config.EncryptWithKeyProvider([][]byte{[]byte(keyprovider.Provider + ":" + agenttest.KeyURL)})
			if err != nil {
				t.Fatal(err)
			}
			wrap := ocicrypt.KeyProviderKeyWrapProtocolInput{Operation: ocicrypt.OpKeyWrap}
			wrap.KeyWrapParams.Ec, wrap.KeyWrapParams.OptsData = to.EncryptConfig, options(layer)
			annotation := m.once(wrap, secrets).KeyWrapResults.Annotation
			if kty == "EC" {
				secrets = append(secrets, m.inAnnotation(annotation, layer)...)
			}
			unwrap := ocicrypt.KeyProviderKeyWrapProtocolInput{Operation: ocicrypt.OpKeyUnwrap}
			unwrap.KeyUnwrapParams.Annotation = annotation
			if got := m.once(unwrap, secrets).KeyUnwrapResults.OptsData; !bytes.Equal(got, options(layer)) {
				t.Fatal("the layer's key was not handed over:", m.said.String())
			}
		})
	}
}

// once has the program answer one request, and looks at it as it ends.
func (m *machine) once(request ocicrypt.KeyProviderKeyWrapProtocolInput, secrets [][]byte) (answer ocicrypt.KeyProviderKeyWrapProtocolOutput) {
	m.Helper()
	in, err := json.Marshal(request)
	if err != nil {
		m.Fatal(err)
	}
	out := m.ends(in, secrets, "keyprovider", "--key", agenttest.KeyURL)
	if err := json.Unmarshal(out, &answer); err != nil {
		m.Fatal(err, m.said.String())
	}
	return answer
}

// TestModeAgeRecipient: of a key that was released for its public half, nothing else is
// left when that was printed.
func TestModeAgeRecipient(t *testing.T) {
	for _, kty := range []string{"EC", "RSA"} {
		m := newMachine(t)
		recipient, secrets := m.private(kty)
		if out := m.ends(nil, secrets, "age", "recipient", "--key", agenttest.KeyURL); string(out) != recipient+"\n" {
			t.Errorf("%s: %s: %s", kty, out, m.said.String())
		}
	}
}

// ends runs openskr-workload with that input, and looks at it as it ends.
func (m *machine) ends(in []byte, secrets [][]byte, args ...string) []byte {
	m.Helper()
	var out bytes.Buffer
	cmd := exec.Command(filepath.Join(m.bin, "openskr-workload"), append(args, m.options...)...)
	cmd.Dir, cmd.Env = m.dir, append(os.Environ(), "GOTRACEBACK=all", "TMPDIR="+m.dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &m.said
	m.atExit(cmd, func(pid int) {
		m.present(pid, []byte(agenttest.KeyURL)) // its memory is still there
		m.clean(pid, secrets...)
	})
	return out.Bytes()
}

// atExit runs a program and calls look when no instruction of it is left to run and all
// of its memory is still there.
func (m *machine) atExit(cmd *exec.Cmd, look func(pid int)) {
	m.Helper()
	runtime.LockOSThread() // the kernel knows who traces by the thread
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	pid := cmd.Process.Pid
	m.Cleanup(func() { _ = cmd.Process.Kill() })
	var s unix.WaitStatus
	_, err := unix.Wait4(pid, &s, 0, nil) // at its first instruction
	if err == nil {
		err = unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACEEXIT|unix.PTRACE_O_EXITKILL)
	}
	for pass := 0; err == nil && s.TrapCause() != unix.PTRACE_EVENT_EXIT; pass = int(s.StopSignal()) {
		if err = unix.PtraceCont(pid, pass); err == nil {
			_, err = unix.Wait4(pid, &s, 0, nil)
		}
		if err == nil && !s.Stopped() {
			m.Fatalf("the program ended unseen: %v: %s", s, m.said.String())
		}
	}
	if err != nil {
		m.Fatal(err)
	}
	look(pid)
	if err := unix.PtraceDetach(pid); err != nil {
		m.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		m.Fatal(err, m.said.String())
	}
}
