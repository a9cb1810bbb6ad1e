package swtpm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

const (
	startLimit = 10 * time.Second
	stopLimit  = 5 * time.Second
	poll       = 2 * time.Millisecond
)

// cmdShutdown of swtpm's control channel (swtpm_ioctl.h: CMD_SHUTDOWN).
const cmdShutdown = 3

// process is one run of swtpm.
type process struct {
	kill   context.CancelFunc
	killed <-chan struct{} // closed by kill or by the caller's context
	done   chan struct{}   // closed when the process is gone
}

// launch starts swtpm on the state in dir and waits until it answers.
func launch(ctx context.Context, dir, socket string) (*process, error) {
	run, kill := context.WithCancel(ctx)
	var out bytes.Buffer
	cmd := exec.CommandContext(run, program, "socket", "--tpm2",
		"--tpmstate", "dir="+filepath.Join(dir, "state"),
		"--server", "type=unixio,path="+socket+",mode=0600",
		"--ctrl", "type=unixio,path="+socket+".ctrl,mode=0600",
		"--flags", "not-need-init,startup-clear")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p := &process{kill: kill, killed: run.Done(), done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The death signal is sent when the starting thread ends, so it must be
		// kept for as long as the child runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended matters to nobody: stop asks for it
		}
	}()
	if err := <-started; err != nil {
		kill()
		return nil, fmt.Errorf("swtpm: %w", err)
	}
	if err := p.ready(ctx, socket); err != nil {
		kill()
		<-p.done
		return nil, fmt.Errorf("swtpm: %w: %s", err, strings.TrimSpace(out.String()))
	}
	return p, nil
}

// ready waits until both sockets take connections.
func (p *process) ready(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if dial(socket) == nil && dial(socket+".ctrl") == nil {
			return nil
		}
		select {
		case <-p.done:
			return errors.New("ended at start")
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

func dial(path string) error {
	c, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	return c.Close()
}

// stop shuts the TPM down in order, so that its dictionary attack counter does
// not grow, and ends the process. A process already gone is no error.
func (p *process) stop(socket string) error {
	if p == nil {
		return nil
	}
	defer p.kill()
	select {
	case <-p.done:
		return nil
	case <-p.killed:
		<-p.done
		return nil
	default:
	}
	err := shutdown(socket)
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		p.kill()
		<-p.done
		err = errors.Join(err, errors.New("swtpm did not end by itself and was killed"))
	}
	return err
}

func shutdown(socket string) error {
	tpm, err := linuxudstpm.Open(socket)
	if err != nil {
		return err
	}
	defer tpm.Close()
	if _, err := (tpm2.Shutdown{ShutdownType: tpm2.TPMSUClear}).Execute(tpm); err != nil {
		return fmt.Errorf("TPM2_Shutdown: %w", err)
	}
	c, err := net.Dial("unix", socket+".ctrl")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(stopLimit)); err != nil {
		return err
	}
	if err := binary.Write(c, binary.BigEndian, uint32(cmdShutdown)); err != nil {
		return err
	}
	var code uint32
	if err := binary.Read(c, binary.BigEndian, &code); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if code != 0 {
		return fmt.Errorf("swtpm: shutdown answered %#x", code)
	}
	return nil
}
