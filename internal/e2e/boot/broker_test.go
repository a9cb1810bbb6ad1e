package boot

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/openskr/openskr/internal/swtpm"
	"github.com/openskr/openskr/release/receipt"
)

// The broker has one name everywhere. On this machine it is on the loopback; in a
// guest it is the one address that qemu lets through.
const (
	brokerName  = "broker.e2e.test"
	guestBroker = "10.0.2.100"
)

// broker is a real `openskr serve` in a child process.
type broker struct {
	dir, port, url string
	trust          string // agent.json
	child          *exec.Cmd
	log            bytes.Buffer
	exited         chan struct{}
}

// startBroker makes a deployment that believes the EK certificates of roots.
func (l *lab) startBroker(roots []byte) error {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(free.Addr().String())
	if err := errors.Join(err, free.Close()); err != nil {
		return err
	}
	b := &broker{dir: filepath.Join(l.dir, "broker"), port: port, url: "https://" + brokerName + ":" + port, exited: make(chan struct{})}
	l.broker = b
	if err := write(l.dir, map[string]string{
		"roots.pem": string(roots), "hosts": "127.0.0.1 localhost " + brokerName + "\n", "no-log": "",
	}); err != nil {
		return err
	}
	if _, err := l.openskr("init", "--data", b.dir, "--listen", "127.0.0.1:"+port, "--host", brokerName+":"+port,
		"--ek-roots", filepath.Join(l.dir, "roots.pem"), "--admin-credential", filepath.Join(l.dir, "admin.json")); err != nil {
		return err
	}
	trust, err := os.ReadFile(filepath.Join(b.dir, "agent.json"))
	if err != nil {
		return err
	}
	b.trust = string(trust)
	return b.serve(filepath.Join(l.bin, "openskr"))
}

// serve starts the child and waits until it says that it is ready.
func (b *broker) serve(program string) error {
	b.child = exec.Command(program, "serve", "--data", b.dir)
	b.child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := b.child.StderrPipe()
	if err != nil {
		return err
	}
	if err := b.child.Start(); err != nil {
		return err
	}
	ready := make(chan error, 1)
	go func() {
		defer close(b.exited)
		lines := bufio.NewReader(io.TeeReader(stderr, &b.log))
		for {
			line, err := lines.ReadString('\n')
			if strings.Contains(line, `"msg":"ready"`) {
				ready <- nil
			}
			if err != nil {
				ready <- fmt.Errorf("openskr serve ended: %w", b.child.Wait())
				return
			}
		}
	}()
	select {
	case err := <-ready:
		return err
	case <-time.After(time.Minute):
		return errors.New("openskr serve: not ready within a minute")
	}
}

// stop ends the broker and gives what it logged.
func (b *broker) stop() string {
	if b == nil || b.child == nil || b.child.Process == nil {
		return ""
	}
	_ = b.child.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.exited:
	case <-time.After(time.Minute):
		_ = b.child.Process.Kill()
		<-b.exited
	}
	return b.log.String()
}

// named runs a program of ours in a mount namespace where the broker has its name.
const named = `mount --bind "$1" /etc/hosts && shift && exec "$@"`

func (l *lab) named(program string, args ...string) ([]byte, error) {
	words := append([]string{"--mount", "sh", "-c", named, "sh", filepath.Join(l.dir, "hosts"), filepath.Join(l.bin, program)}, args...)
	cmd := exec.Command("unshare", words...)
	cmd.Env = append(os.Environ(), "OPENSKR_CREDENTIAL="+filepath.Join(l.dir, "admin.json"), "XDG_STATE_HOME="+filepath.Join(l.dir, "state"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s %s: %w\n%s%s", program, strings.Join(args, " "), err, tail(stdout.Bytes()), tail(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// openskr runs the operator's program.
func (l *lab) openskr(args ...string) ([]byte, error) { return l.named("openskr", args...) }

// agent runs openskr-agent with a TPM.
func (l *lab) agent(tpm *swtpm.TPM, args ...string) ([]byte, error) {
	return l.named("openskr-agent", append(args, "--config", filepath.Join(l.broker.dir, "agent.json"),
		"--tpm", tpm.Socket, "--eventlog", filepath.Join(l.dir, "no-log"), "--state", tpm.Dir)...)
}

// machineRow is a machine as `openskr machine list --json` prints it.
type machineRow struct{ ID, Status string }

func (l *lab) machines(status string) ([]machineRow, error) {
	out, err := l.openskr("machine", "list", "--json", "--status", status)
	if err != nil {
		return nil, err
	}
	var list struct{ Value []machineRow }
	return list.Value, json.Unmarshal(out, &list)
}

// exitPending is the agent's exit code while its machine waits for approval.
const exitPending = 7

// approve enrols a TPM and approves it. It gives the machine's id.
func (l *lab) approve(tpm *swtpm.TPM) (string, error) {
	_, err := l.agent(tpm, "enroll")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitPending {
		return "", fmt.Errorf("a new machine is not pending: %w", err)
	}
	pending, err := l.machines("pending")
	if err != nil || len(pending) != 1 {
		return "", fmt.Errorf("want one pending machine, got %v: %w", pending, err)
	}
	if _, err := l.openskr("machine", "approve", pending[0].ID); err != nil {
		return "", err
	}
	_, err = l.agent(tpm, "enroll")
	return pending[0].ID, err
}

// entry is one of the log, as `openskr log tail --json` prints it.
type entry struct {
	Index  int64
	Record *receipt.Record
}

// entries are those of the log from index on.
func (l *lab) entries(from int64) ([]entry, error) {
	out, err := l.openskr("log", "tail", "--json", "--lines", "1000")
	if err != nil {
		return nil, err
	}
	var list []entry
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var e entry
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, err
		}
		if e.Index >= from {
			list = append(list, e)
		}
	}
}
