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
	if c.Connections < 16 || c.Connections > 1<<20 {
		return fmt.Errorf("connections: %d, want 16 to %d (0: %d)", c.Connections, 1<<20, api.DefaultConnections)
	}
	if c.ConnectionsPerSource < 0 || c.ConnectionsPerSource > c.Connections {
		return fmt.Errorf("connections_per_source: %d, want 1 to connections, %d (0: a quarter of them)", c.ConnectionsPerSource, c.Connections)
	}
	_, err := c.proxies()
	return err
}

// otherFiles are those that a broker has open besides connections of clients: its store,
// and the connections on which it asks others.
const otherFiles = 256

// listen opens the listener of the configuration, bounded, for server.
func (b *broker) listen(server *http.Server) (*api.Listener, error) {
	proxies, err := b.cfg.proxies()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", b.cfg.Listen)
	if err != nil {
		return nil, err
	}
	c := api.Connections{Max: b.cfg.Connections, PerSource: b.cfg.ConnectionsPerSource, Proxies: proxies, Log: b.logger}
	var files syscall.Rlimit // Go has raised it as far as it goes
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Cur < uint64(c.Max+otherFiles) {
		c.Max = max(int(files.Cur)-otherFiles, 1)
		c.PerSource = min(c.PerSource, c.Max)
		b.logger.Warn("fewer connections than configured: raise the limit of open files (ulimit -n, LimitNOFILE=)", "connections", c.Max, "configured", b.cfg.Connections)
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
