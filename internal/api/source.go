package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// source is the prefix of the address that a request comes from: what is limited and
// counted together.
func (f *funnel) source(r *http.Request) string {
	return prefix(client(r.RemoteAddr, r.Header.Values("X-Forwarded-For"), f.TrustedProxies))
}

// client is the address of the socket; when that is a trusted proxy's, the last hop
// that it or the trusted proxies before it wrote down and that is none of them. What
// stands left of that hop is the client's own word, and other headers that claim an
// address are never read.
func client(remoteAddr string, forwarded []string, trusted []netip.Prefix) netip.Addr {
	at, _ := hop(remoteAddr)
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(hops) - 1; i >= 0 && proxy(at, trusted); i-- {
		next, ok := hop(strings.TrimSpace(hops[i]))
		if !ok {
			break // nor is anything left of what is no address believed
		}
		at = next
	}
	return at
}

func proxy(at netip.Addr, trusted []netip.Prefix) bool {
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(at) })
}

// hop reads an address, with a port or without: proxies write both.
func hop(s string) (netip.Addr, bool) {
	at, err := netip.ParseAddr(s)
	if err != nil {
		both, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		at = both.Addr()
	}
	return at.Unmap().WithZone(""), true
}

// prefix is the IPv4 /24 or the IPv6 /48 of an address.
func prefix(at netip.Addr) string {
	bits := 48
	if at.Is4() {
		bits = 24
	}
	p, err := at.Prefix(bits)
	if err != nil || !p.IsValid() {
		return "unknown"
	}
	return p.String()
}
