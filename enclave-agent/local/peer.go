package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// peer is the process at the other end of a socket, as it was when it connected.
type peer struct {
	uid, gid uint32
	pid      int32
	cgroup   string // path in the unified hierarchy, "" where there is none
	// foreign says that it lives in other namespaces than this machine's own programs: a
	// container, or a service with a file system of its own.
	foreign bool
}

// peerOf asks the kernel who connected. A process that is gone, or that cannot be seen
// from here, is an error: nothing can be known of it.
func peerOf(c *net.UnixConn) (p *peer, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	pidfd := -1
	var failed error
	err = raw.Control(func(fd uintptr) {
		if cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); failed == nil {
			pidfd, failed = openPeer(int(fd), cred)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("who connected: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(pidfd)) }()
	p = &peer{uid: cred.Uid, gid: cred.Gid, pid: cred.Pid}
	if err := p.look(); err != nil {
		return nil, fmt.Errorf("process %d: %w", cred.Pid, err)
	}
	// What was read is of this process only if it had its number all the while.
	if gone, err := exited(pidfd); err != nil || gone {
		return nil, errors.Join(fmt.Errorf("process %d ended before it was looked at", cred.Pid), err)
	}
	return p, nil
}

// openPeer opens the process that connected, which keeps it apart from a later one with
// the same number. Kernels before 6.5 know it by number alone.
func openPeer(socket int, cred *unix.Ucred) (int, error) {
	if cred.Pid <= 0 {
		return -1, errors.New("a process of a PID namespace that is not ours or below it")
	}
	fd, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if errors.Is(err, unix.ENOPROTOOPT) {
		fd, err = unix.PidfdOpen(int(cred.Pid), 0)
	}
	return fd, err
}

func exited(pidfd int) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return n != 0, err
		}
	}
}

// maxProc bounds what is read of one file of /proc in bytes.
const maxProc = 1 << 20

// look reads what /proc shows of a process to everybody: the links in its ns folder take
// a right over it that this program has not.
func (p *peer) look() error {
	b, err := readProc(int(p.pid), "status")
	if err != nil {
		return err
	}
	levels := field(b, "NSpid:")
	if levels == nil {
		return errors.New("the kernel shows no PID namespaces (NSpid)")
	}
	mounts, err := root(int(p.pid))
	if err != nil {
		return err
	}
	p.foreign = len(levels) != 1 || !mounts.own()
	if b, err = readProc(int(p.pid), "cgroup"); err != nil {
		return err
	}
	p.cgroup = unified(b)
	return nil
}

func readProc(pid int, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxProc))
}

// field gives the words of the line of /proc/PID/status that begins with name.
func field(status []byte, name string) []string {
	for line := range bytes.Lines(status) {
		if rest, ok := strings.CutPrefix(string(line), name); ok {
			return strings.Fields(rest)
		}
	}
	return nil
}

// rootMount is the number of the mount that a process has as its /, "" for none that it
// shows. Each mount of a mount namespace has a number that no other's has, so that two
// processes with one number share a namespace.
type rootMount string

func root(pid int) (rootMount, error) {
	b, err := readProc(pid, "mountinfo")
	return rootOf(b), err
}

// rootOf reads mountinfo (proc_pid_mountinfo(5)): number, parent, device, root, mount
// point. The last mount at / covers the others.
func rootOf(mountinfo []byte) (out rootMount) {
	for line := range bytes.Lines(mountinfo) {
		if f := strings.Fields(string(line)); len(f) > 4 && f[4] == "/" {
			out = rootMount(f[0])
		}
	}
	return out
}

// own says that the namespace is the service manager's, or this program's, which may have
// one of its own.
func (m rootMount) own() bool {
	for _, pid := range []int{1, os.Getpid()} {
		if r, err := root(pid); err == nil && r != "" && r == m {
			return true
		}
	}
	return false
}

// unified gives the path of /proc/PID/cgroup's line of version 2.
func unified(cgroup []byte) string {
	for line := range bytes.Lines(cgroup) {
		if rest, ok := strings.CutPrefix(string(line), "0::"); ok {
			return strings.TrimSuffix(rest, "\n")
		}
	}
	return ""
}

func (p *peer) String() string {
	s := fmt.Sprintf("uid %d, gid %d, pid %d", p.uid, p.gid, p.pid)
	if p.cgroup != "" {
		s += ", cgroup " + strconv.Quote(p.cgroup)
	}
	if p.foreign {
		s += ", in other namespaces"
	}
	return s
}
