package main

import (
	"slices"
	"testing"
)

// TestHostsInCapitals: hosts are compared as they are written in URLs, in lower case.
func TestHostsInCapitals(t *testing.T) {
	c := &Config{Hosts: []string{"Broker.Example"}, VaultSuffixes: []string{"KV.Example"}, Listen: ":8443"}
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.URLs(), []string{"https://broker.example:8443"}) || !slices.Equal(c.Suffixes(), []string{"kv.example:8443"}) {
		t.Errorf("%v %v", c.URLs(), c.Suffixes())
	}
}
