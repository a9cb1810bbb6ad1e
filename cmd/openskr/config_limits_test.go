package main

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/api"
)

func TestLimits(t *testing.T) {
	for text, want := range map[string]string{
		"throttle: -1": "throttle", "throttle: .nan": "throttle", "throttle: .inf": "throttle", "throttle: 0.001": "throttle", "throttle: 2000000": "throttle",
		"connections: 3": "connections", "connections: -1": "connections", "connections: 2000000": "connections", "connections_per_source: -1": "connections_per_source",
		"connections: 100\nconnections_per_source: 101": "connections_per_source",
		"trusted_proxies: [0.0.0.0/0]":                  "everybody", "trusted_proxies: ['::/0']": "everybody", "trusted_proxies: [10.0.0.1/8]": "no address or network",
		"trusted_proxies: [proxy.example]": "no address or network", "trusted_proxies: ['10.0.0.1:443']": "no address or network",
		"trusted_proxies: ['::ffff:10.0.0.0/104']": "no address or network", "trusted_proxies: ['']": "no address or network",
	} {
		if _, err := parseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	c, err := parseConfig([]byte("throttle: 0.5\ntrusted_proxies: [10.0.0.0/8, 192.0.2.1, '2001:db8::/32', '::1']"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.proxies()
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("::1/128")}
	if err != nil || c.Throttle != 0.5 || !slices.Equal(got, want) {
		t.Errorf("%v, %v, throttle %g", got, err, c.Throttle)
	}
	if c, err = parseConfig([]byte("listen: 127.0.0.1:1")); err != nil || c.Throttle != 10 || len(c.TrustedProxies) != 0 || c.Connections != 4096 {
		t.Errorf("defaults: %+v, %v", c, err)
	}
	fresh := *c
	fresh.Throttle, fresh.TrustedProxies, fresh.Connections, fresh.ConnectionsPerSource = 1, []string{"10.0.0.0/8"}, 100, 50
	if got := fresh.needRestart(c); !slices.Equal(got, []string{"connections", "connections_per_source", "throttle", "trusted_proxies"}) {
		t.Errorf("%v", got)
	}
	if fresh.keep(c); fresh.Throttle != 10 || fresh.TrustedProxies != nil || fresh.Connections != 4096 || fresh.ConnectionsPerSource != 0 {
		t.Errorf("not kept: %+v", fresh)
	}
}

// TestOpenFiles: a broker serves with the open files it may have, all of its sources alike,
// and not at all with so few that it would only look as if it served.
func TestOpenFiles(t *testing.T) {
	for _, c := range []struct {
		max, perSource  int
		files           uint64
		fewer, ofSource int
	}{
		{4096, 0, math.MaxUint64, 4096, 0},
		{4096, 0, 4096 + otherFiles, 4096, 0},
		{4096, 1024, 4095 + otherFiles, 4095, 1024},
		{4096, 4096, 1024, 768, 768},
		{4096, 1024, 1024, 768, 192},
		{4096, 1, 1024, 768, 1},
		{4096, 0, otherFiles + 16, 16, 0},
		{16, 4, otherFiles + 16, 16, 4},
	} {
		got, err := fit(api.Connections{Max: c.max, PerSource: c.perSource}, c.files)
		if err != nil || got.Max != c.fewer || got.PerSource != c.ofSource {
			t.Errorf("%+v: %d, %d, %v", c, got.Max, got.PerSource, err)
		}
	}
	for _, files := range []uint64{0, 256, otherFiles + 15} {
		if _, err := fit(api.Connections{Max: 4096}, files); err == nil || !strings.Contains(err.Error(), "LimitNOFILE") {
			t.Errorf("%d: %v", files, err)
		}
	}
}
