package local

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// owner gives the user whose connection it is that comes to local from remote, both on
// the loopback, as /proc/net shows it (proc_pid_net(5)). It is for the log alone: the
// kernel vouches for a process on a socket in the file system, and for none on TCP.
func owner(remote, local netip.AddrPort) (uid uint32, ok bool) {
	theirs, ours := hexAddress(remote), hexAddress(local)
	uid, _, ok = netSocket(remote, func(f []string) bool { return f[1] == theirs && f[2] == ours })
	return uid, ok
}

// stateListen is TCP_LISTEN of the kernel's tcp_states.h.
const stateListen = "0A"

// listening gives whose socket it is that listens at an address, and its inode.
func listening(at netip.AddrPort) (uid uint32, inode string, ok bool) {
	ours := hexAddress(at)
	return netSocket(at, func(f []string) bool { return f[1] == ours && f[3] == stateListen })
}

// netSocket finds a socket of the family of at, by the columns of /proc/net.
func netSocket(at netip.AddrPort, is func(columns []string) bool) (uid uint32, inode string, ok bool) {
	name := "tcp"
	if at.Addr().Is6() {
		name = "tcp6"
	}
	b, err := readProc(os.Getpid(), "net/"+name)
	if err != nil {
		return 0, "", false
	}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) < 10 || !is(f) {
			continue
		}
		n, err := strconv.ParseUint(f[7], 10, 32)
		return uint32(n), f[9], err == nil
	}
	return 0, "", false
}

// holder gives a process that has a socket open, 0 when none is seen: only root sees
// those of others.
func holder(inode string) (pid int) {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err != nil || to != "socket:["+inode+"]" {
			continue
		}
		if pid, err = strconv.Atoi(strings.Split(link, "/")[2]); err == nil {
			return pid
		}
	}
	return 0
}

// hexAddress writes an address as /proc/net does: words of 32 bits in the machine's own
// order of bytes.
func hexAddress(a netip.AddrPort) string {
	var s strings.Builder
	ip := a.Addr().AsSlice()
	for ; len(ip) >= 4; ip = ip[4:] {
		fmt.Fprintf(&s, "%08X", binary.NativeEndian.Uint32(ip))
	}
	fmt.Fprintf(&s, ":%04X", a.Port())
	return s.String()
}
