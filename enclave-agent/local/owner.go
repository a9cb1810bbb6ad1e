package local

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// owner gives the user whose connection it is that comes to local from remote, both on
// the loopback, as /proc/net shows it (proc_pid_net(5)). It is for the log alone: the
// kernel vouches for a process on a socket in the file system, and for none on TCP.
func owner(remote, local netip.AddrPort) (uid uint32, ok bool) {
	name := "tcp"
	if remote.Addr().Is6() {
		name = "tcp6"
	}
	b, err := readProc(os.Getpid(), "net/"+name)
	if err != nil {
		return 0, false
	}
	theirs, ours := hexAddress(remote), hexAddress(local)
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) < 8 || f[1] != theirs || f[2] != ours {
			continue
		}
		n, err := strconv.ParseUint(f[7], 10, 32)
		return uint32(n), err == nil
	}
	return 0, false
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
