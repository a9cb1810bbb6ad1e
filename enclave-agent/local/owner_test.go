package local

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

func TestOwner(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Log(err) // a machine without IPv6
			continue
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		remote, local := netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String())
		if uid, ok := owner(remote, local); !ok || int(uid) != os.Getuid() {
			t.Errorf("%s: %d, %v", address, uid, ok)
		}
		if uid, ok := owner(remote, netip.AddrPortFrom(local.Addr(), 1)); ok {
			t.Errorf("%s: a connection that is not there is %d's", address, uid)
		}
		c.Close()
		l.Close()
	}
}

// A refusal on TCP names the user as far as the kernel shows it.
func TestRefusalNamesUser(t *testing.T) {
	s := serve(t, &fake{}, onTCP)
	r := s.tcpRequest(t)
	r.Header.Del("Authorization")
	do(t, r)
	if log := s.log.String(); !strings.Contains(log, "uid ") || !strings.Contains(log, "status=401") {
		t.Errorf("log: %s", log)
	}
}
