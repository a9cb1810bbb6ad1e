package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
)

// maxConns bounds the connections of one listener. What is not sent in time is closed.
const maxConns = 256

// ListenUnix makes a socket at an absolute path, which group may connect to, a name or a
// number; "": this user alone. Its folder is made when it is not there; one that others
// may write to is refused, and so is whatever already has the name, but a socket of this
// user that nobody answers on. Closing removes it. Errors wrap [agent.ErrConfig].
func ListenUnix(path, group string) (_ net.Listener, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w: socket %s: %w", agent.ErrConfig, path, err)
		}
	}()
	gid, err := lookUp(group, groupID)
	if err != nil {
		return nil, err
	}
	dir, err := openFolder(filepath.Dir(path), gid)
	if err != nil {
		return nil, err
	}
	l := &unixListener{dir: dir, name: filepath.Base(path)}
	if err := l.bind(gid); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return bounded(l), nil
}

// openFolder opens the folder that a socket or file is made in, so that what is done in
// it later is done in this one, wherever its path leads then.
func openFolder(path string, gid *uint32) (_ *os.File, err error) {
	mode := os.FileMode(0o700)
	if gid != nil {
		mode = 0o750
	}
	made := os.Mkdir(path, mode)
	if made != nil && !errors.Is(made, os.ErrExist) {
		return nil, made
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	dir := os.NewFile(uintptr(fd), path)
	defer func() {
		if err != nil {
			err = errors.Join(err, dir.Close())
		}
	}()
	if err := judgeFolder(fd, path, self()); err != nil {
		return nil, err
	}
	if made == nil && gid != nil {
		if err := errors.Join(dir.Chown(-1, int(*gid)), dir.Chmod(mode)); err != nil {
			return nil, err
		}
	}
	return dir, nil
}

// judgeFolder refuses a folder in which others than who could exchange what is in it.
func judgeFolder(fd int, path string, who owners) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if !slices.Contains(who, int(st.Uid)) || st.Mode&0o022 != 0 {
		return fmt.Errorf("folder %s has owner %d and mode %#o: another could exchange what is in it; want one of this user or root, writable by its owner alone", path, st.Uid, st.Mode&0o777)
	}
	return nil
}

// unixListener is a socket that is known by its folder and its name in it.
type unixListener struct {
	*net.UnixListener
	dir   *os.File
	name  string
	inode uint64
}

// path leads to the name through the open folder.
func (l *unixListener) path() string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", l.dir.Fd(), l.name)
}

func (l *unixListener) stat() (st unix.Stat_t, err error) {
	err = unix.Fstatat(int(l.dir.Fd()), l.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

func (l *unixListener) bind(gid *uint32) (err error) {
	if err := l.stale(); err != nil {
		return err
	}
	mask := unix.Umask(0o177) // nobody else connects before it has its group
	l.UnixListener, err = net.ListenUnix("unix", &net.UnixAddr{Name: l.path(), Net: "unix"})
	unix.Umask(mask)
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false) // Close does it, and only to this very socket
	st, err := l.stat()
	l.inode = st.Ino
	if err == nil && gid != nil {
		if st.Gid != *gid { // else a service goes without the right to give files away
			err = unix.Fchownat(int(l.dir.Fd()), l.name, -1, int(*gid), unix.AT_SYMLINK_NOFOLLOW)
		}
		err = errors.Join(err, unix.Fchmodat(int(l.dir.Fd()), l.name, 0o660, 0))
	}
	if err != nil {
		return errors.Join(err, l.UnixListener.Close())
	}
	return nil
}

var (
	errTaken    = errors.New("something that is not a socket of this user has its name: it is left alone; remove it, or configure another path")
	errAnswered = errors.New("another process answers on it")
)

// stale removes what an earlier run left behind.
func (l *unixListener) stale() error {
	st, err := l.stat()
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || int(st.Uid) != os.Geteuid() {
		return errTaken
	}
	c, err := net.Dial("unix", l.path())
	if err == nil {
		return errors.Join(errAnswered, c.Close())
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return unix.Unlinkat(int(l.dir.Fd()), l.name, 0)
}

// Close stops listening and removes the socket.
func (l *unixListener) Close() error {
	if st, err := l.stat(); err == nil && st.Ino == l.inode {
		_ = unix.Unlinkat(int(l.dir.Fd()), l.name, 0) // left behind, it is stale
	}
	return errors.Join(l.UnixListener.Close(), l.dir.Close())
}

// listenTCP listens on a loopback address that was checked, or on MetadataAddress. Errors
// wrap [agent.ErrConfig].
func listenTCP(address string) (net.Listener, error) {
	l, err := take(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", agent.ErrConfig, err)
	}
	return bounded(l), nil
}

func take(address string) (net.Listener, error) {
	var c net.ListenConfig
	if address == MetadataAddress {
		c.Control = fromHere
	}
	l, err := c.Listen(context.Background(), "tcp", address)
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL) && address == MetadataAddress:
		err = fmt.Errorf("%w; an administrator gives this machine the address: ip address add 169.254.169.254/32 dev lo, which hides a metadata service of the cloud from all of its programs", err)
	case errors.Is(err, unix.EACCES):
		err = fmt.Errorf("%w; a port below 1024 wants CAP_NET_BIND_SERVICE", err)
	}
	return l, err
}

// fromHere takes connections of this machine alone: what its own programs send comes over
// lo, whichever device has the address, and the network's never does. Linux would answer
// a neighbour at an address of lo otherwise.
func fromHere(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.BindToDevice(int(fd), "lo") })
	return errors.Join(err, failed)
}

// firstFD is the first descriptor that systemd hands over (sd_listen_fds(3)).
const firstFD = 3

// activated takes over the one socket that systemd listens on for this program.
func activated() (_ net.Listener, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w: socket without a path, which systemd is to hand over: %w", agent.ErrConfig, err)
		}
	}()
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDS") != "1" {
		return nil, errors.New("there is not exactly one; enable openskr-workload.socket, or give socket.path")
	}
	f := os.NewFile(firstFD, "socket of systemd")
	l, err := net.FileListener(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("it is %s, want a stream socket in the file system", l.Addr().Network()), l.Close())
	}
	u.SetUnlinkOnClose(false) // it is systemd's
	return bounded(u), nil
}

// boundedListener accepts while there is a place.
type boundedListener struct {
	net.Listener
	places chan struct{}
	done   chan struct{}
	once   sync.Once
}

func bounded(l net.Listener) net.Listener {
	return &boundedListener{Listener: l, places: make(chan struct{}, maxConns), done: make(chan struct{})}
}

func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &boundedConn{Conn: c, leave: func() { <-l.places }}, nil
}

// Close may be called again, as servers do.
func (l *boundedListener) Close() (err error) {
	l.once.Do(func() {
		close(l.done)
		err = l.Listener.Close()
	})
	return err
}

// boundedConn gives its place back when it is closed.
type boundedConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

func (c *boundedConn) Close() error {
	defer c.once.Do(c.leave)
	return c.Conn.Close()
}
