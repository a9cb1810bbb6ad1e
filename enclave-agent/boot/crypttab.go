package boot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
)

// RunDir is where headers lie that systemd-cryptsetup opens, in memory and root's alone.
const RunDir = "/run/openskr"

// HeaderFile is where systemd-cryptsetup has to be told to read the header of a volume,
// by the option header= of its line in crypttab.
func HeaderFile(name string) string { return filepath.Join(RunDir, name+".header") }

// Server is a key socket of systemd-cryptsetup (crypttab(5), AF_UNIX KEY FILES): each
// connection is about the volume in the abstract name of its peer, and gets its key or
// nothing.
type Server struct {
	Unlocker
	Disks map[string]Disk
	// Idle ends Serve after this time without a connection: the socket starts it again.
	Idle time.Duration
	// Closed is called when a volume stays closed, after that was said.
	Closed func()

	dir string // for RunDir, in tests
	uid uint32 // of peers, 0 but in tests
	// options gives those that a peer was started with.
	options func(pid int32, name string) (string, error)
}

// Serve answers connections of l until ctx ends or nobody asks any more.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	if err := s.prepare(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var open sync.WaitGroup
	var active atomic.Int32
	defer open.Wait()
	for {
		if err := l.SetDeadline(time.Now().Add(s.Idle)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		c, err := l.AcceptUnix()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if active.Load() > 0 {
				continue
			}
			return nil
		}
		if err != nil {
			return err
		}
		active.Add(1)
		open.Go(func() {
			defer active.Add(-1)
			s.answer(ctx, c)
		})
	}
}

func (s *Server) prepare() error {
	if s.Timeout == 0 {
		s.Timeout = DefaultTimeout
	}
	if s.dir == "" {
		s.dir = RunDir
	}
	if s.options == nil {
		s.options = attachOptions
	}
	if s.tool != nil {
		return nil
	}
	tool, err := findCryptsetup()
	s.tool = tool
	return err
}

// answer gives a peer the key of its volume, or closes without a byte, which
// systemd-cryptsetup takes for a refusal.
func (s *Server) answer(ctx context.Context, c *net.UnixConn) {
	defer c.Close()
	name, err := s.serve(ctx, c)
	if err == nil {
		s.Console.Say("%s: key handed to systemd-cryptsetup", name)
		return
	}
	if name == "" {
		s.Console.Fail("a request for a key is refused: %v", err)
		return
	}
	s.Console.Fail("%v", closed(name, err))
	if s.Closed != nil {
		s.Closed()
	}
}

func (s *Server) serve(ctx context.Context, c *net.UnixConn) (name string, err error) {
	name, d, err := s.peer(c)
	if err != nil {
		return name, err
	}
	h, err := s.header(name)
	if err != nil {
		return name, err
	}
	key, err := s.keyOf(ctx, name, d, h)
	if err != nil {
		return name, err
	}
	defer func() { err = errors.Join(err, key.Close()) }()
	return name, send(c, key)
}

// keyOf is the released key, or what a person typed instead of it.
func (s *Server) keyOf(ctx context.Context, name string, d Disk, h *header) (*agent.Secret, error) {
	key, err := s.keyFor(ctx, d, h)
	if err == nil || d.Recovery == Off || ctx.Err() != nil {
		return key, err
	}
	s.Console.Fail("%v", closed(name, err))
	f, serr := sealed(h.raw)
	if serr != nil {
		return nil, errors.Join(err, serr)
	}
	defer f.Close()
	key, rerr := s.ask(ctx, name, h, func(key *agent.Secret) error { return s.tool.try(ctx, f, h.recovery, key.Bytes()) })
	if rerr != nil {
		return nil, errors.Join(err, rerr)
	}
	if _, merr := s.mark(ctx, d); merr != nil {
		return nil, errors.Join(err, merr, key.Close())
	}
	return key, nil
}

func (s *Server) keyFor(ctx context.Context, d Disk, h *header) (*agent.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	if err := h.sealedTo(d.Key); err != nil {
		return nil, err
	}
	r, err := s.released(ctx, h)
	if err != nil {
		return nil, err
	}
	return r.Material, nil
}

// peer says which volume a connection is about, "" for a stranger's. Only root asks, and
// only a systemd-cryptsetup that opens the very header that is checked here.
func (s *Server) peer(c *net.UnixConn) (name string, d Disk, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return name, d, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return name, d, err
	}
	if credErr != nil {
		return name, d, credErr
	}
	if cred.Uid != s.uid {
		return name, d, fmt.Errorf("a process of user %d asks for a key: only root may", cred.Uid)
	}
	volume, ok := volumeOf(c.RemoteAddr().String())
	if !ok {
		return name, d, errors.New("the peer does not say which volume it is about: it is not systemd-cryptsetup")
	}
	name = volume
	if d, ok = s.Disks[name]; !ok {
		return name, d, fmt.Errorf("%w: disks.json has no disk of this name", agent.ErrConfig)
	}
	options, err := s.options(cred.Pid, name)
	if err != nil {
		return name, d, err
	}
	want := "header=" + filepath.Join(s.dir, name+".header")
	if !slices.Contains(strings.Split(options, ","), want) {
		return name, d, fmt.Errorf("%w: the line of %s in crypttab lacks the option %s, so systemd-cryptsetup would open a header that nobody checked", agent.ErrConfig, name, want)
	}
	return name, d, nil
}

// volumeOf takes the volume out of "@RANDOM/cryptsetup/VOLUME".
func volumeOf(address string) (string, bool) {
	parts := strings.Split(address, "/")
	if len(parts) != 3 || !strings.HasPrefix(parts[0], "@") || parts[1] != "cryptsetup" || !isVolumeName(parts[2]) {
		return "", false
	}
	return parts[2], true
}

// attachOptions reads the command line of a systemd-cryptsetup: "attach VOLUME DEVICE
// KEYFILE OPTIONS" after its own name.
func attachOptions(pid int32, name string) (string, error) {
	b, err := agent.ReadBounded(fmt.Sprintf("/proc/%d/cmdline", pid), 64<<10)
	if err != nil {
		return "", err
	}
	args := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	if len(args) != 6 || args[1] != "attach" || args[2] != name {
		return "", fmt.Errorf("the peer is not systemd-cryptsetup attaching %s with options", name)
	}
	return args[5], nil
}

// send writes a key to a socket.
func send(c *net.UnixConn, key *agent.Secret) error {
	if err := c.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err := c.Write(key.Bytes())
	return err
}
