package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"

	"github.com/openskr/openskr/internal/api"
)

// limits completes and judges who may ask how much, and who may say so for others.
func (c *Config) limits() error {
	if c.Throttle == 0 {
		c.Throttle = 10
	}
	if !(c.Throttle >= 0.01 && c.Throttle <= 1e6) { // so that NaN is refused too
		return fmt.Errorf("throttle: %g, want 0.01 to 1e6 (0: 10)", c.Throttle)
	}
	if c.Connections == 0 {
		c.Connections = api.DefaultConnections
	}
	if c.Connections < minConnections || c.Connections > 1<<20 {
		return fmt.Errorf("connections: %d, want %d to %d (0: %d)", c.Connections, minConnections, 1<<20, api.DefaultConnections)
	}
	if c.ConnectionsPerSource < 0 || c.ConnectionsPerSource > c.Connections {
		return fmt.Errorf("connections_per_source: %d, want 1 to connections, %d (0: a quarter of them)", c.ConnectionsPerSource, c.Connections)
	}
	_, err := c.proxies()
	return err
}

const (
	// minConnections is what a broker is of use with: its clients keep theirs between requests.
	minConnections = 16
	// otherFiles are those that a broker has open besides connections of clients: its store,
	// and the connections on which it asks others.
	otherFiles = 256
)

// fit lowers c to what a process that may have so many files open can hold, a source's part
// with it.
func fit(c api.Connections, files uint64) (api.Connections, error) {
	switch {
	case files >= uint64(c.Max+otherFiles):
		return c, nil
	case files < minConnections+otherFiles:
		return c, fmt.Errorf("this process may have %d files open, and a broker needs %d: raise the hard limit (LimitNOFILE= in its unit, `ulimit -Hn` in a shell)", files, minConnections+otherFiles)
	}
	fewer := int(files) - otherFiles
	c.PerSource = (c.PerSource*fewer + c.Max - 1) / c.Max // what is not 0 does not become it
	c.Max = fewer
	return c, nil
}

// listen opens the listener of the configuration, bounded, for server.
func (b *broker) listen(server *http.Server) (*api.Listener, error) {
	proxies, err := b.cfg.proxies()
	if err != nil {
		return nil, err
	}
	want := api.Connections{Max: b.cfg.Connections, PerSource: b.cfg.ConnectionsPerSource, Proxies: proxies, Log: b.logger}
	var files syscall.Rlimit // Go has raised it as far as it goes
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return nil, fmt.Errorf("limit of open files: %w", err)
	}
	c, err := fit(want, files.Cur)
	if err != nil {
		return nil, err
	}
	if c.Max < want.Max {
		b.logger.Warn("fewer connections than configured: raise the hard limit of open files (LimitNOFILE=, ulimit -Hn)", "connections", c.Max, "configured", want.Max)
	}
	l, err := net.Listen("tcp", b.cfg.Listen)
	if err != nil {
		return nil, err
	}
	bounded := c.Listen(l, server)
	return bounded, b.metrics.Gauge("openskr_connections", "Connections of clients that are held.", func() float64 { return float64(bounded.Open()) })
}

// proxies are the networks of trusted_proxies.
func (c *Config) proxies() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range c.TrustedProxies {
		if !strings.Contains(s, "/") {
			at, err := netip.ParseAddr(s)
			if err != nil {
				return nil, fmt.Errorf("trusted_proxies: %q is no address or network like 10.0.0.0/24", s)
			}
			s = netip.PrefixFrom(at.WithZone(""), at.BitLen()).String()
		}
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil || p != p.Masked() || p.Addr().Is4In6():
			return nil, fmt.Errorf("trusted_proxies: %q is no address or network like 10.0.0.0/24", s)
		case p.Bits() == 0:
			return nil, fmt.Errorf("trusted_proxies: %s is everybody: anybody could then choose its address", s)
		}
		out = append(out, p)
	}
	return out, nil
}
