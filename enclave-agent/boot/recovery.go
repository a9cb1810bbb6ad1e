package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
)

const (
	recoveryTries = 3
	recoveryLimit = 5 * time.Minute
	maxPassphrase = 512
	askPoll       = 250 * time.Millisecond
)

// errNothing says that a person typed an empty line.
var errNothing = errors.New("nothing was typed")

// recover opens the disk with what a person types on the console. The shape of the header
// holds; its digest is not known: who has the disk and the console may bring a disk and a
// key of his own. So nothing is opened without [Unlocker.mark].
func (u *Unlocker) recover(ctx context.Context, name string, d Disk, h *header) (*Opened, error) {
	key, err := u.ask(ctx, name, h, func(key *agent.Secret) error {
		return u.open(ctx, name, d, h, h.recovery, key)
	})
	if err != nil {
		return nil, err
	}
	if err := key.Close(); err != nil {
		return nil, err
	}
	out := &Opened{Name: name, Device: d.Device, Header: h.digest(), Recovered: true}
	if out.Register, err = u.mark(ctx, d); err != nil {
		return nil, errors.Join(err, u.tool.close(context.WithoutCancel(ctx), name))
	}
	out.Capped = true
	return out, nil
}

// mark caps the registers of a disk whatever its configuration says, so that the system on it,
// which may be anybody's, cannot ask for keys as the one that was measured.
func (u *Unlocker) mark(ctx context.Context, d Disk) (registers string, err error) {
	c, err := u.extend(ctx, d, agent.RecoveryEvent)
	if err == nil {
		if s := u.Shown(ctx); !c.shown(s) {
			err = c.uncapped(s)
		}
	}
	if err != nil {
		return "", fmt.Errorf("no register takes that the disk is opened by hand, and without it anybody at the console could start a system of his own in this one's name; open the disk on another machine: %w", err)
	}
	return c.String(), nil
}

// ask reads the recovery key until accept takes it. The caller closes the result.
func (u *Unlocker) ask(ctx context.Context, name string, h *header, accept func(*agent.Secret) error) (*agent.Secret, error) {
	if h.recovery == "" {
		return nil, errors.New("this disk has no recovery key")
	}
	u.Console.asking.Lock()
	defer u.Console.asking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, recoveryLimit)
	defer cancel()
	for i := range recoveryTries {
		key, err := u.Console.askSecret(ctx, fmt.Sprintf("Recovery key of %s (try %d of %d): ", name, i+1, recoveryTries))
		if errors.Is(err, errNothing) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("no recovery key: %w", err)
		}
		err = accept(key)
		if err == nil {
			return key, nil
		}
		if err := errors.Join(err, key.Close()); !errors.Is(err, errWrongKey) {
			return nil, err
		}
		u.Console.Fail("%s: that is not the recovery key", name)
	}
	return nil, fmt.Errorf("%d wrong recovery keys: %w", recoveryTries, errWrongKey)
}

// askSecret reads one line from the terminal without showing it.
func (c *Console) askSecret(ctx context.Context, prompt string) (_ *agent.Secret, err error) {
	fd, err := c.terminal()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	saved, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	silent := *saved
	silent.Lflag = silent.Lflag&^(unix.ECHO|unix.ECHOE|unix.ECHOK|unix.ECHONL) | unix.ICANON
	silent.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(fd, unix.TCSETSF, &silent); err != nil { // F: what was typed ahead is dropped
		return nil, err
	}
	defer func() { err = errors.Join(err, unix.IoctlSetTermios(fd, unix.TCSETSF, saved)) }()
	if _, err := unix.Write(fd, []byte("\n"+prompt)); err != nil {
		return nil, err
	}
	line, err := readLine(ctx, fd)
	if _, werr := unix.Write(fd, []byte("\n")); err == nil && werr != nil {
		err = errors.Join(werr, line.Close())
	}
	if err != nil {
		return nil, err
	}
	return line, nil
}

// ShowOnce writes a new recovery key to the terminal of this program. It fails before
// there is a key when there is none.
func ShowOnce() (func(key []byte) error, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return func(key []byte) error {
		_, err := tty.WriteString("Recovery key, shown once; write it down:\n  ")
		if err == nil {
			_, err = tty.Write(key)
		}
		if err == nil {
			_, err = tty.WriteString("\n")
		}
		return errors.Join(err, tty.Close())
	}, nil
}

// terminal opens where a person is asked.
func (c *Console) terminal() (int, error) {
	path := c.Path
	if path == "" {
		path = "/dev/console"
		if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
			path = "/dev/stdin"
		}
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return -1, errors.Join(fmt.Errorf("%s is no terminal", path), unix.Close(fd))
	}
	return fd, nil
}

// readLine reads a line into locked memory, without its end, before ctx is over.
func readLine(ctx context.Context, fd int) (_ *agent.Secret, err error) {
	typed, err := agent.NewSecret(maxPassphrase + 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, typed.Close()) }()
	buf, n := typed.Bytes(), 0
	for {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("nobody answered: %w", ctx.Err())
		}
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(askPoll/time.Millisecond))
		if errors.Is(err, unix.EINTR) || err == nil && ready == 0 {
			continue
		}
		if err != nil {
			return nil, err
		}
		got, err := unix.Read(fd, buf[n:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case got == 0:
			return nil, errors.New("the terminal was closed")
		}
		n += got
		if end := bytes.IndexByte(buf[:n], '\n'); end >= 0 {
			return taken(bytes.TrimRight(buf[:end], "\r"))
		}
		if n == len(buf) {
			return nil, fmt.Errorf("more than %d characters", maxPassphrase)
		}
	}
}

// taken copies b into a Secret of its own length.
func taken(b []byte) (*agent.Secret, error) {
	if len(b) == 0 {
		return nil, errNothing
	}
	s, err := agent.NewSecret(len(b))
	if err == nil {
		copy(s.Bytes(), b)
	}
	return s, err
}
