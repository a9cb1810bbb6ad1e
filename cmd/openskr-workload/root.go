package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	agent "github.com/openskr/openskr/enclave-agent"
)

// app is one run: its streams and the options that belong to every command.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	config, state   string
	platform, kind  string
	pcrs            string
	hardware        agent.Hardware
	timeout         time.Duration
	json, requested bool // requested: a command has begun, so that an error is not about usage
	allowSwap       bool
	unswapped       bool // the swap of this machine was looked at
}

const exitCodes = `Exit codes:
  0  done                          4  no hardware to prove anything with, or no right to it
  1  failed                        5  no broker reached in time
  2  wrong usage or configuration  6  the broker's answer or receipt does not check out
  3  refused by the broker         7  this machine waits for approval`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "openskr-workload",
		Short: "Use released keys inside this machine",
		Long: "openskr-workload uses keys and secrets that an OpenSKR broker releases to this machine: it decrypts\n" +
			"blobs, runs programs with their secrets, and serves local programs.\n\n" + exitCodes,
		SilenceErrors: true, SilenceUsage: true, Args: cobra.NoArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			a.requested = true
			if err := a.values(); err != nil {
				return err
			}
			return agent.Harden()
		},
	}
	f := root.PersistentFlags()
	f.StringVar(&a.config, "config", "/etc/openskr/agent.json", "what to trust, made by openskr init")
	f.StringVar(&a.platform, "platform", "auto", "what proves this machine, as openskr-agent platform lists")
	f.StringVar(&a.hardware.TPM, "tpm", "", "TPM device, or socket of a software TPM")
	f.StringVar(&a.hardware.EventLog, "eventlog", "", "event log of the firmware (default: the kernel's)")
	f.StringVar(&a.hardware.AKChain, "ak-chain", "", "in Azure: certificates between that of the vTPM's AK and Microsoft's root")
	f.StringVar(&a.hardware.Simulator, "simulator", "", "socket of openskr simulate, for the simulated platforms")
	f.StringVar(&a.state, "state", "", "folder that keeps a TPM's AK certificate, so that not every run enrols")
	f.StringVar(&a.kind, "recipient", string(agent.Hybrid), "hybrid (ML-KEM-768 + P-256), p256 or rsa")
	f.StringVar(&a.pcrs, "pcrs", "", "PCRs of a TPM to prove, as 0,1,7 or sha384:0,1,7 (default sha256:0,…,15)")
	f.DurationVar(&a.timeout, "timeout", agent.DefaultTimeout, "give up after this time, retries included")
	f.BoolVar(&a.json, "json", false, "print results and errors as JSON")
	f.BoolVar(&a.allowSwap, "allow-swap", false, "hold keys though they could be swapped to a disk that is not encrypted")
	root.AddCommand(a.commands()...)
	return root
}

// commands, one line each, in the order of the help text.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.decryptCmd(),
		a.encryptCmd(),
		a.ageCmd(),
		a.keyproviderCmd(),
		a.parent(a.runCmd()),
		a.serveCmd(),
		a.versionCmd(),
	}
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			version, built := agent.BuildInfo()
			return a.print(struct {
				Version string    `json:"version"`
				Built   time.Time `json:"built,omitzero"`
			}{version, built}, "openskr-workload %s\n", version)
		},
	}
}

// values checks what the common options say.
func (a *app) values() (err error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", agent.ErrConfig, fmt.Errorf(format, args...))
	}
	if a.timeout <= 0 {
		return bad("--timeout must be positive")
	}
	a.hardware.Notice = a.notice
	if a.hardware.PCRs, err = agent.ParsePCRs(a.pcrs); err != nil {
		return bad("--pcrs: %w", err)
	}
	if a.platform != "auto" {
		if a.hardware.Platform = agent.Platform(a.platform); a.hardware.Platform == "" {
			return bad("--platform %.32q: want auto or one of %v", a.platform, agent.Platforms())
		}
	}
	if simulated := strings.HasPrefix(a.platform, "simulated-"); simulated != (a.hardware.Simulator != "") {
		return bad("--simulator SOCKET and --platform simulated-… belong together")
	}
	return nil
}

// agent reads agent.json and opens the hardware. The caller closes it.
func (a *app) agent(ctx context.Context) (*agent.Agent, error) {
	if err := a.keepOffDisk(false); err != nil {
		return nil, err
	}
	trust, err := agent.ReadTrust(a.config)
	if err != nil {
		return nil, err
	}
	_, built := agent.BuildInfo()
	return agent.New(ctx, agent.Config{
		Trust: trust, Hardware: a.hardware, State: a.state, Timeout: a.timeout,
		Recipient: agent.RecipientKind(a.kind), Built: built, Notice: a.notice,
	})
}

// keepOffDisk refuses to hold keys where they could be swapped to a disk in plain.
// children: what is started here holds them too.
func (a *app) keepOffDisk(children bool) error {
	if a.unswapped {
		return nil
	}
	a.unswapped = true
	return a.swap(children).Check()
}

func (a *app) swap(children bool) agent.Swap {
	return agent.Swap{Allowed: a.allowSwap, Children: children, Notice: a.notice}
}

// parent makes a command refuse before it starts what will hold keys. The reader, which
// it starts first, is not asked again.
func (a *app) parent(c *cobra.Command) *cobra.Command {
	c.PreRunE = func(*cobra.Command, []string) error {
		a.unswapped = filepath.Base(os.Args[0]) == readerName
		return a.keepOffDisk(true)
	}
	return c
}

func (a *app) notice(text string) { fmt.Fprintf(a.stderr, "openskr-workload: note: %s\n", text) }

// print writes a result: one JSON object with --json, else a line for a person.
func (a *app) print(v any, format string, args ...any) error {
	if !a.json {
		_, err := fmt.Fprintf(a.stdout, format, args...)
		return err
	}
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// report writes an error: with --json an object with exit code and reason.
func (a *app) report(err error) {
	var passed exitError
	if errors.As(err, &passed) {
		return
	}
	if !a.json {
		fmt.Fprintf(a.stderr, "openskr-workload: %v\n", err)
		if !a.requested {
			fmt.Fprintln(a.stderr, "Try: openskr-workload --help")
		}
		return
	}
	b, _ := json.Marshal(agent.Report(err)) // strings and a number
	fmt.Fprintf(a.stderr, "%s\n", b)
}
