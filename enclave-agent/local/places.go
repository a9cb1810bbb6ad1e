package local

import (
	"errors"
	"fmt"
	"net/netip"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/release/receipt"
)

// twice are the addresses and paths that are given more than once.
func (c *Config) twice() (out []string) {
	seen := map[string]int{}
	for _, p := range c.places() {
		if seen[p.address]++; seen[p.address] == 2 {
			out = append(out, p.address)
		}
	}
	return out
}

// place is something that is taken: an address on the loopback, or the path of a socket
// or a file, which group may use.
type place struct {
	what, address, group string
	kind                 placeKind
}

type placeKind int

const (
	anAddress placeKind = iota
	aSocket
	aFile
)

// places are those that the configuration names; a port that the kernel chooses is none.
func (c *Config) places() (out []place) {
	tcp := func(what, address string) {
		if a, err := netip.ParseAddrPort(address); err == nil && a.Port() != 0 {
			out = append(out, place{what: what, address: address, kind: anAddress})
		}
	}
	if c.Socket != nil && c.Socket.Path != "" {
		out = append(out, place{"socket.path", c.Socket.Path, c.Socket.Group, aSocket})
	}
	if c.TCP != nil {
		tcp("tcp.address", c.TCP.Address)
	}
	if k := c.KeyProvider; k != nil && k.SocketPath() != "" {
		out = append(out, place{"keyprovider.address", k.SocketPath(), k.Group, aSocket})
	} else if k != nil {
		tcp("keyprovider.address", k.Address)
	}
	for i := range c.Callers {
		if id := c.Callers[i].Identity; id != nil {
			if id.Environment != "" {
				out = append(out, place{"identity.environment of " + c.Callers[i].Name, id.Environment, id.Group, aFile})
			}
			tcp("identity.address of "+c.Callers[i].Name, id.Address)
		}
	}
	return out
}

// checkHosts refuses keys and vaults that no broker of agent.json can have. Errors wrap
// [agent.ErrConfig].
func (c *Config) checkHosts(t *receipt.Trust) error {
	var problems []error
	check := func(where string, urls []string) {
		for _, u := range urls {
			if err := agent.CheckHost(t, u); err != nil {
				problems = append(problems, fmt.Errorf("%w (workload.json, %s)", err, where))
			}
		}
	}
	for i := range c.Callers {
		one := &c.Callers[i]
		check("keys of caller "+one.Name, one.Keys)
		check("vaults of caller "+one.Name, one.Vaults)
	}
	if c.KeyProvider != nil {
		check("keys of keyprovider", c.KeyProvider.Keys)
	}
	return errors.Join(problems...)
}
