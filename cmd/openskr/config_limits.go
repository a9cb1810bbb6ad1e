package main

import (
	"fmt"
	"net/netip"
	"strings"
)

// limits completes and judges who may ask how much, and who may say so for others.
func (c *Config) limits() error {
	if c.Throttle == 0 {
		c.Throttle = 10
	}
	if !(c.Throttle >= 0.01 && c.Throttle <= 1e6) { // so that NaN is refused too
		return fmt.Errorf("throttle: %g, want 0.01 to 1e6 (0: 10)", c.Throttle)
	}
	_, err := c.proxies()
	return err
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
