package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/openskr/openskr/internal/api"
	apikeyvault "github.com/openskr/openskr/internal/api/keyvault"
)

// names completes and judges what the broker is called.
func (c *Config) names() error {
	// In lower case, as what a client asks for is compared: the issuer of our own tokens
	// and the resources of access tokens are made of them.
	lower(c.Hosts)
	lower(c.VaultSuffixes)
	for _, h := range c.Hosts {
		if !api.ValidHost(h) {
			return fmt.Errorf("hosts: %.128q: want NAME or NAME:PORT, without https:// and path", h)
		}
	}
	if c.VaultSuffixes == nil {
		for _, h := range c.Hosts {
			if host, _, err := net.SplitHostPort(h); err == nil {
				h = host
			}
			if net.ParseIP(strings.Trim(h, "[]")) == nil {
				c.VaultSuffixes = append(c.VaultSuffixes, h)
			}
		}
		// URLs of vaults are made with the first one: not with a single label while there
		// are others, since OpenSSL and Node believe no certificate for *.localhost.
		slices.SortStableFunc(c.VaultSuffixes, func(a, b string) int {
			return min(strings.Count(b, "."), 1) - min(strings.Count(a, "."), 1)
		})
	}
	for _, s := range c.VaultSuffixes {
		if !api.ValidHost(s) {
			return fmt.Errorf("vault_suffixes: %.128q: want NAME or NAME:PORT, without a dot in front", s)
		}
	}
	switch c.ReleaseSignature {
	case "":
		c.ReleaseSignature = apikeyvault.RS256
	case apikeyvault.RS256, apikeyvault.ES256:
	default:
		return fmt.Errorf("release_signature: %.16q: want RS256 or ES256", c.ReleaseSignature)
	}
	if c.Resource != "" && (!strings.HasPrefix(c.Resource, "https://") || strings.HasSuffix(c.Resource, "/")) {
		return errors.New("resource: want https://NAME[:PORT], without a slash at the end")
	}
	return nil
}

func lower(names []string) {
	for i, n := range names {
		names[i] = strings.ToLower(n)
	}
}

// URLs are the broker's base URLs, the first one for URLs that it makes itself.
func (c *Config) URLs() []string {
	out := c.withPort(c.Hosts)
	for i, h := range out {
		out[i] = "https://" + h
	}
	return out
}

// Suffixes are what the authorities of vaults end with, port included.
func (c *Config) Suffixes() []string { return c.withPort(c.VaultSuffixes) }

// withPort completes names with the port that is listened on.
func (c *Config) withPort(names []string) []string {
	_, port, _ := net.SplitHostPort(c.Listen)
	out := make([]string, len(names))
	for i, h := range names {
		if _, _, err := net.SplitHostPort(h); err != nil && port != "443" {
			h = net.JoinHostPort(h, port)
		}
		out[i] = h
	}
	return out
}

// certified are the names that the broker's certificate has: hosts, and any vault
// below each suffix.
func (c *Config) certified() []string {
	out := stripScheme(c.URLs())
	for _, s := range c.Suffixes() {
		out = append(out, "*."+s)
	}
	return out
}

// resources are what a token may be asked for: what 401 answers name.
func (c *Config) resources() []string {
	out := append(stripScheme(c.URLs()), c.Suffixes()...)
	if c.Resource != "" {
		out = append(out, strings.TrimPrefix(c.Resource, "https://"))
	}
	return out
}
