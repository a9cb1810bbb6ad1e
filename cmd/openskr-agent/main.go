// Command openskr-agent runs inside a machine with a TPM or a TEE: it proves what was
// booted to a broker and gets keys that only this machine, in this state, can
// open. Its only configuration is agent.json; it stores no credential.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/boot"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program; it gives the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args)
	switch {
	case errors.Is(err, errHelp):
		fmt.Fprint(stdout, usage)
		return agent.ExitOK
	case err != nil:
		fmt.Fprintf(stderr, "openskr-agent: %v\nTry: openskr-agent help\n", err)
		return agent.ExitUsage
	}
	p := &program{options: o, stdout: stdout, stderr: stderr, powerOff: boot.PowerOff}
	p.hardware.Notice = p.notice
	if err := agent.Harden(); err != nil {
		p.report(err)
		return agent.ExitFailed
	}
	ctx, stop := agent.EndedBySignal()
	defer stop()
	if err = p.unswapped(); err == nil {
		err = p.commands()[o.command](ctx)
	}
	if err != nil {
		p.report(err)
	}
	return agent.ExitCode(err)
}

// holding are the commands that come to hold a key or a token. cryptsetup, which three of
// them hand it to, locks the memory that it keeps it in.
var holding = []string{"key get", "token", "decrypt", "seal-disk", "unlock", "crypttab serve"}

// unswapped refuses to hold keys where they could be swapped to a disk in plain.
func (p *program) unswapped() error {
	if !slices.Contains(holding, p.command) {
		return nil
	}
	if err := (agent.Swap{Allowed: p.allowSwap, Notice: p.notice}).Check(); err != nil {
		return p.closed(err)
	}
	return nil
}

// program is one run.
type program struct {
	*options
	stdout, stderr io.Writer
	powerOff       func() error // tests do not
}

func (p *program) notice(text string) { fmt.Fprintf(p.stderr, "openskr-agent: note: %s\n", text) }

// commands in the order of the help text.
func (p *program) commands() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"enroll": p.enroll, "key get": p.keyGet, "token": p.token, "decrypt": p.decrypt, "evidence": p.evidence,
		"platform": p.detect, "version": p.version,
		"seal-disk": p.sealDisk, "unlock": p.unlock,
		"crypttab header": p.crypttabHeader, "crypttab serve": p.crypttabServe, "crypttab cap": p.crypttabCap,
	}
}

// open reads agent.json and opens the hardware.
func (p *program) open(ctx context.Context) (*agent.Agent, error) {
	trust, err := agent.ReadTrust(p.config)
	if err != nil {
		return nil, err
	}
	_, built := agent.BuildInfo()
	return agent.New(ctx, agent.Config{
		Trust: trust, Hardware: p.hardware, State: p.state, Timeout: p.timeout,
		Recipient: p.recipient, Built: built, Notice: p.notice,
	})
}

// with runs fn with an agent.
func (p *program) with(ctx context.Context, fn func(*agent.Agent) error) (err error) {
	a, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return fn(a)
}
