package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
)

// NotRun says that the program itself could not be run.
type NotRun struct{ Err error }

func (e *NotRun) Error() string { return "run: " + e.Err.Error() }

func (e *NotRun) Unwrap() error { return e.Err }

// ExitCode is the one that shells give: 127 for what is not there, 126 for what cannot
// be run.
func (e *NotRun) ExitCode() int {
	if errors.Is(e.Err, os.ErrNotExist) || errors.Is(e.Err, exec.ErrNotFound) {
		return 127
	}
	return 126
}

// reader is a process that has the secrets.
type reader struct {
	*Config
	supervisor int // its process id
	values     []*agent.SecretValue
	folder     *folder // nil without files
}

// Read is a reader, from its start to its end or until it has become the program: it
// reads each of c.Secrets by its index, says which versions they are, and does what the
// supervisor orders.
func Read(ctx context.Context, c *Config, read func(ctx context.Context, i int) (*agent.SecretValue, error)) error {
	control, err := inherited()
	if err != nil {
		return fmt.Errorf("%w: %w", agent.ErrConfig, err)
	}
	defer control.Close()
	r := &reader{Config: c, supervisor: unix.Getppid()}
	if c.has(File) {
		unix.CloseOnExec(folderFD)
		r.folder = &folder{fd: folderFD, path: c.Dir}
	}
	var rep report
	for i, s := range c.Secrets {
		v, err := read(ctx, i)
		if err != nil {
			return err
		}
		if s.Form == Env && bytes.IndexByte(v.Value.Bytes(), 0) >= 0 {
			return fmt.Errorf("secret %s holds a zero byte, which no environment can: hand it over as a file", s.Name)
		}
		r.values = append(r.values, v)
		rep.Versions = append(rep.Versions, v.Version)
	}
	if err := tell(control, rep); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	var o order
	if err := hear(control, &o); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	switch o.Do {
	case doWrite:
		return r.write(o)
	case doExec:
		return r.become(ctx, o)
	}
	return fmt.Errorf("supervisor: order %.32q", o.Do)
}

// write makes the files.
func (r *reader) write(o order) error {
	for i, s := range r.Secrets {
		if s.Form != File {
			continue
		}
		if err := r.folder.write(s.Name, r.values[i].Value.Bytes(), o.Replace); err != nil {
			return err
		}
	}
	return nil
}

// become is the last act: this process goes on as the program. Its memory, with every
// copy of a secret that reading has left there, ends with exec.
func (r *reader) become(ctx context.Context, o order) error {
	if err := r.write(o); err != nil {
		return err
	}
	if o.Attach {
		if err := r.folder.attach(); err != nil {
			return err
		}
	}
	env, err := r.environment(os.Environ())
	if err != nil {
		return err
	}
	path, err := exec.LookPath(r.Command[0])
	if err != nil {
		return &NotRun{err}
	}
	// A signal that comes from here on ends this process, or the program.
	signal.Reset(unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.bind(); err != nil {
		return err
	}
	return &NotRun{&os.PathError{Op: "exec", Path: path, Err: syscall.Exec(path, r.Command, env)}}
}

// bind has the program get SIGTERM when its supervisor ends, whatever ends that. The
// kernel keeps this for the thread that executes the program, not for its process.
func (r *reader) bind() error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
		return fmt.Errorf("bind the program to its supervisor: %w", err)
	}
	if unix.Getppid() != r.supervisor {
		return errors.New("the supervisor has ended")
	}
	return nil
}

// environment is base, without the variables that are secrets now, and these.
func (r *reader) environment(base []string) ([]string, error) {
	env := slices.DeleteFunc(base, func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.ContainsFunc(r.Secrets, func(s Secret) bool { return s.variable() == name })
	})
	for i, s := range r.Secrets {
		value := r.values[i].Value.Bytes()
		var text string
		switch s.Form {
		case Env:
			text = string(value)
		case File:
			text = r.Dir + "/" + s.Name
		case FD:
			fd, err := sealed(s.Name, value)
			if err != nil {
				return nil, fmt.Errorf("secret %s: %w", s.Name, err)
			}
			text = "/proc/self/fd/" + strconv.Itoa(fd)
		}
		env = append(env, s.variable()+"="+text)
	}
	return env, nil
}

// sealed makes a file in memory that nobody can change, open across exec.
func sealed(name string, content []byte) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, fmt.Errorf("file in memory: %w", err)
	}
	if err := writeAll(fd, content); err != nil {
		return -1, err
	}
	if _, err := unix.Seek(fd, 0, io.SeekStart); err != nil {
		return -1, err
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	return fd, err
}
