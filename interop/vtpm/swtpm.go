package vtpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Software is a software TPM, empty and started.
type Software struct {
	// Socket is a Unix socket that speaks the TPM's own protocol.
	Socket string

	child  *exec.Cmd
	exited chan error
}

// Start starts swtpm with its state below dir.
func Start(ctx context.Context, dir string) (*Software, error) {
	state := filepath.Join(dir, "swtpm")
	if err := os.Mkdir(state, 0o700); err != nil {
		return nil, err
	}
	s := &Software{Socket: filepath.Join(dir, "tpm"), exited: make(chan error, 1)}
	s.child = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+state, "--server", "type=unixio,path="+s.Socket,
		"--ctrl", "type=unixio,path="+s.Socket+".ctrl", "--flags", "not-need-init,startup-clear")
	s.child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	s.child.Stdout, s.child.Stderr = &out, &out
	if err := s.child.Start(); err != nil {
		return nil, fmt.Errorf("%w: run scripts/deps.sh", err)
	}
	go func() { s.exited <- s.child.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		// The control channel, since whoever leaves the other one may end it.
		c, err := net.Dial("unix", s.Socket+".ctrl")
		if err == nil {
			return s, c.Close()
		}
		select { // another process: nothing to wait on but its answer
		case err := <-s.exited:
			return nil, fmt.Errorf("swtpm: %w\n%s", err, out.String())
		case <-ctx.Done():
			return nil, errors.Join(err, s.Stop())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Stop ends it.
func (s *Software) Stop() error {
	if err := s.child.Process.Kill(); err != nil {
		return err
	}
	<-s.exited // killed
	return nil
}
