package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/local"
	"github.com/openskr/openskr/enclave-agent/supervise"
	"github.com/openskr/openskr/release/receipt"
)

// checked is what --check prints when nothing is wrong.
type checked struct {
	Platform string `json:"platform"`
	Callers  int    `json:"callers,omitempty"` // of serve
	Secrets  int    `json:"secrets,omitempty"` // of run
}

// checkServe looks at everything that serve needs, and gives all that is wrong at once.
func (a *app) checkServe(ctx context.Context, config, user string) error {
	trust, out, problems := a.checkMachine(ctx)
	c, err := local.Checker{Trust: trust, User: user, Notice: a.notice}.Check(config)
	if err := errors.Join(append([]error{err}, problems...)...); err != nil {
		return err
	}
	out.Callers = len(c.Callers)
	return a.print(out, "good: %[1]d callers, on platform %[2]s\n", out.Callers, out.Platform)
}

// checkRun looks at everything that run needs.
func (a *app) checkRun(ctx context.Context, c *supervise.Config, refs []string) error {
	if err := c.Check(); err != nil {
		return err // without it there is nothing to look at
	}
	trust, out, problems := a.checkMachine(ctx)
	var own []error
	for _, s := range refs {
		if trust == nil {
			break
		}
		if _, err := agent.ParseSecretRef(trust, s); err != nil {
			own = append(own, err)
		}
	}
	own = append(own, c.CheckRun())
	err := errors.Join(append(own, problems...)...)
	if errors.Is(err, agent.ErrConfig) {
		return err
	}
	if err != nil {
		return a.runs(err)
	}
	out.Secrets = len(refs)
	return a.print(out, "good: %[1]d secrets, on platform %[2]s\n", out.Secrets, out.Platform)
}

// resolveLimit bounds the search for the brokers' addresses.
const resolveLimit = 5 * time.Second

// checkMachine reads agent.json, looks for its brokers' addresses and opens the hardware.
// trust is nil when agent.json is unusable.
func (a *app) checkMachine(ctx context.Context) (trust *receipt.Trust, out checked, problems []error) {
	trust, err := agent.ReadTrust(a.config)
	if err != nil {
		return nil, out, []error{err}
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	for _, broker := range trust.URLs {
		if err := resolve(ctx, broker); err != nil {
			problems = append(problems, err)
		}
	}
	ag, err := a.agent(ctx)
	if err != nil {
		return trust, out, append(problems, err)
	}
	out.Platform = string(ag.Platform())
	if err := ag.Close(); err != nil {
		problems = append(problems, err)
	}
	return trust, out, problems
}

// resolve looks for the address of a broker. Nothing is sent there.
func resolve(ctx context.Context, broker string) error {
	u, err := url.Parse(broker)
	if err != nil {
		return fmt.Errorf("%w: agent.json: %w", agent.ErrConfig, err)
	}
	ctx, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
	if _, err := net.DefaultResolver.LookupHost(ctx, u.Hostname()); err != nil {
		return fmt.Errorf("%w: %s: %w; look at this machine's DNS, or at urls in agent.json", agent.ErrUnreachable, broker, err)
	}
	return nil
}
