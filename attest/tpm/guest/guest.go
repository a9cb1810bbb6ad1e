// Package guest is the collecting half of TPM 2.0 Evidence: it runs inside the
// machine, talks to its TPM and makes what package attest/tpm verifies.
//
// Keys it uses: the EK with its certificate (to prove which TPM this is), an AK
// (a restricted signing key, the same after every boot), and one recipient key
// per release whose private half never leaves the TPM and works only while the
// quoted PCRs keep their values.
//
// Every operation takes few TPM commands, holds a lock against this program and
// others while it runs, and leaves no object in the TPM but open Recipients.
package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// DefaultDevice is the kernel's resource-managed TPM.
const DefaultDevice = "/dev/tpmrm0"

// Errors that callers tell apart.
var (
	// ErrNoTPM says that there is no TPM to talk to, or no right to.
	ErrNoTPM = errors.New("no TPM")
	// ErrPCRsChanged says that a PCR was extended while evidence was collected:
	// start again with a new recipient.
	ErrPCRsChanged = errors.New("PCRs changed while evidence was collected")
	// ErrRecipientSpent says that a recipient was opened or closed before.
	ErrRecipientSpent = errors.New("recipient key already used")
	// ErrNoNV says that the TPM has no such NV index.
	ErrNoNV = errors.New("no such NV index")
	// ErrNoEK says that no EK of this TPM has a certificate.
	ErrNoEK = errors.New("no endorsement key with a certificate")
)

// TPM is an open TPM. It is safe for concurrent use.
type TPM struct {
	// EventLog is the file of the firmware's event log; "" takes the kernel's
	// ([DefaultEventLog]), and none when the kernel has none. Set it before use.
	EventLog string
	// AKHandle is the persistent handle of an AK that the platform made, such as that
	// of an Azure confidential VM; 0 takes our own. It must be a restricted key that
	// signs with SHA-256. Set it before use.
	AKHandle uint32
	// AKTemplate is the TPMT_PUBLIC of a primary key of the endorsement hierarchy that
	// is the platform's AK, such as that of a Google Compute Engine instance; nil takes
	// our own. It must be such a key too. Set it before use.
	AKTemplate []byte

	raw  transport.TPMCloser
	lock *os.File      // flock against other programs
	busy chan struct{} // one operation at a time in this program
	sent int           // commands so far; tests pin the number
	ek   *ekProfile    // that the last EnrollRequest used
}

// Open opens the TPM at path: a device, or the Unix socket of a software TPM. ""
// is [DefaultDevice]. Errors wrap [ErrNoTPM].
func Open(path string) (*TPM, error) {
	if path == "" {
		path = DefaultDevice
	}
	t, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w%s", ErrNoTPM, err, advice(err))
	}
	return t, nil
}

func open(path string) (*TPM, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	t := &TPM{busy: make(chan struct{}, 1)}
	switch mode := fi.Mode(); {
	case mode&os.ModeSocket != 0:
		// A socket cannot be locked, the folder it lies in can.
		if t.lock, err = os.Open(filepath.Dir(path)); err != nil {
			return nil, err
		}
		if t.raw, err = linuxudstpm.Open(path); err != nil {
			return nil, errors.Join(err, t.lock.Close())
		}
	case mode&os.ModeCharDevice != 0:
		if t.lock, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
			return nil, err
		}
		t.raw = transport.FromReadWriteCloser(t.lock)
	default:
		return nil, fmt.Errorf("%s is neither a device nor a socket", path)
	}
	return t, nil
}

func advice(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "; run as root or as a member of the group that owns the device (tss)"
	case errors.Is(err, fs.ErrNotExist):
		return "; does this machine have a TPM, and is its driver loaded? Another path is given with --tpm"
	}
	return ""
}

// Close releases the TPM. Recipients must be closed before.
func (t *TPM) Close() error {
	err := t.raw.Close()
	if cerr := t.lock.Close(); cerr != nil && !errors.Is(cerr, os.ErrClosed) {
		err = errors.Join(err, cerr)
	}
	return err
}

// Send implements [transport.TPM]; only [TPM.exclusive] leads here.
func (t *TPM) Send(command []byte) ([]byte, error) {
	t.sent++
	rsp, err := t.raw.Send(command)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return nil, fmt.Errorf("%w: %w", ErrNoTPM, err)
	}
	return rsp, err
}

// lockPoll is how often a lock that another program holds is tried again.
const lockPoll = 5 * time.Millisecond

// exclusive runs fn while no other operation, here or in another program that
// uses this package, talks to the TPM.
func (t *TPM) exclusive(ctx context.Context, fn func() error) (err error) {
	select {
	case t.busy <- struct{}{}:
		defer func() { <-t.busy }()
	case <-ctx.Done():
		return fmt.Errorf("TPM is busy: %w", ctx.Err())
	}
	if err := t.flock(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.control(syscall.LOCK_UN)) }()
	return fn()
}

// unless keeps a secret back and clears it where the operation that gave it failed after
// all: nobody clears what comes beside an error.
func unless(err error, secret []byte) ([]byte, error) {
	if err != nil {
		clear(secret)
		return nil, err
	}
	return secret, nil
}

func (t *TPM) flock(ctx context.Context) error {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := t.control(syscall.LOCK_EX | syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another program uses the TPM: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

func (t *TPM) control(how int) error {
	conn, err := t.lock.SyscallConn()
	if err != nil {
		return err
	}
	var lockErr error
	if err := conn.Control(func(fd uintptr) { lockErr = syscall.Flock(int(fd), how) }); err != nil {
		return err
	}
	return lockErr
}

// flush unloads a transient object and adds a failure to err.
func (t *TPM) flush(h tpm2.TPMHandle, err *error) {
	if _, ferr := (tpm2.FlushContext{FlushHandle: h}).Execute(t); ferr != nil {
		*err = errors.Join(*err, fmt.Errorf("flush TPM object: %w", ferr))
	}
}

// empty is the authorisation of objects without a password.
func empty() tpm2.Session { return tpm2.PasswordAuth(nil) }
