package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/supervise"
)

// readerName is argv[0] of this program as the reader of `run`: no option and no variable
// of a user makes it one.
const readerName = "openskr-workload-secrets"

// runFlags are what `run` can be told.
type runFlags struct {
	env, files, fds []string
	onChange        string
	checkOnly       bool
	supervise.Config
}

func (a *app) runCmd() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run --secret NAME=VAULT/SECRET … -- COMMAND [ARG…]",
		Short: "Run a program with its secrets",
		Long: `Run a program with secrets that it reads nowhere else: this machine attests, reads them from their
vaults with what an attested role allows it, and hands them to COMMAND.

A secret is VAULT/SECRET, VAULT/SECRET/VERSION or its URL. VAULT is "default", the name of another vault, or
a host. Only brokers that agent.json names are asked.

  --secret       the environment variable NAME holds it
  --secret-file  NAME_FILE names a file, in a file system in memory that COMMAND alone sees; without the right
                 to mount one (CAP_SYS_ADMIN), in --secret-dir, a folder of your own (0700) on a tmpfs
  --secret-fd    NAME_FILE names a file descriptor that COMMAND inherits: a sealed file in memory

If a secret cannot be read COMMAND is not started. Signals are passed on. The exit code is COMMAND's, 127 when
it is not there, 126 when it cannot be run, and that of openskr-workload when a secret could not be read;
COMMAND's core dumps stay off. openskr-workload itself never holds a secret.`,
		Example: `  openskr-workload run --secret DB_PASSWORD=default/db -- /usr/bin/app
  openskr-workload run --secret-file TLS_KEY=team-a/tls --watch 15m --on-change signal=HUP -- nginx -g 'daemon off;'`,
		Args: cobra.ArbitraryArgs, DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			refs, err := f.complete(args)
			if err != nil {
				return fmt.Errorf("%w: %w", agent.ErrConfig, err)
			}
			if f.checkOnly {
				return a.checkRun(cmd.Context(), &f.Config, refs)
			}
			f.Notice = a.notice
			if filepath.Base(os.Args[0]) == readerName {
				return a.readSecrets(cmd.Context(), &f.Config, refs)
			}
			return a.supervise(cmd.Context(), &f.Config)
		},
	}
	fl := c.Flags()
	fl.SetInterspersed(false)
	fl.StringArrayVar(&f.env, "secret", nil, "`NAME=SECRET` as an environment variable; may be repeated")
	fl.StringArrayVar(&f.files, "secret-file", nil, "`NAME=SECRET` as a file; may be repeated")
	fl.StringArrayVar(&f.fds, "secret-fd", nil, "`NAME=SECRET` as a file descriptor; may be repeated")
	fl.StringVar(&f.Dir, "secret-dir", "/run/openskr/secrets", "`DIR` in which COMMAND finds its files")
	fl.BoolVar(&f.checkOnly, "check", false, "look at everything that COMMAND and its secrets need before they are read, say all that is wrong, and end")
	fl.DurationVar(&f.Watch, "watch", 0, "look for new versions this far apart, about; each look attests, and is a record (default: never)")
	fl.StringVar(&f.onChange, "on-change", "restart", "what a new version leads to: restart, signal=NAME (files alone), exit")
	fl.DurationVar(&f.Stop, "stop-timeout", 10*time.Second, "kill COMMAND this long after it was told to end for a new version")
	return c
}

// complete reads the options; refs are the secrets, in the order of f.Secrets.
func (f *runFlags) complete(args []string) (refs []string, err error) {
	for _, list := range []struct {
		form supervise.Form
		args []string
	}{{supervise.Env, f.env}, {supervise.File, f.files}, {supervise.FD, f.fds}} {
		for _, arg := range list.args {
			name, ref, ok := strings.Cut(arg, "=")
			if !ok {
				return nil, fmt.Errorf("secret %.256q: want NAME=VAULT/SECRET", arg)
			}
			f.Secrets = append(f.Secrets, supervise.Secret{Name: name, Form: list.form})
			refs = append(refs, ref)
		}
	}
	change, name, _ := strings.Cut(f.onChange, "=")
	f.Change = supervise.Change(change)
	if f.Change == supervise.Signal {
		if f.Signal = unix.SignalNum("SIG" + strings.TrimPrefix(name, "SIG")); f.Signal == 0 {
			return nil, fmt.Errorf("--on-change signal=%.32q: want the name of a signal, HUP for example", name)
		}
	} else if name != "" {
		return nil, fmt.Errorf("--on-change %.64q: only a signal has a name", f.onChange)
	}
	f.Command = args
	f.Reader = append([]string{readerName}, os.Args[1:]...)
	return refs, nil
}

// supervise is the supervisor. The exit code is passed on without a word: COMMAND, or
// the reader that failed, has said what there is to say. Swap that is turned on later is
// told at once, and no secret is read beside it; COMMAND, which has its secrets, goes on.
func (a *app) supervise(ctx context.Context, c *supervise.Config) error {
	if !a.allowSwap {
		c.Fit = a.swap(true).Check
	}
	ctx, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := a.swap(true).Watch(ctx); err != nil {
			a.notice("while COMMAND runs: " + err.Error())
		}
	})
	ws, err := supervise.Run(c)
	stop()
	watching.Wait()
	if err != nil {
		return a.runs(err)
	}
	if code := supervise.EndAs(ws); code != 0 {
		return exitError(code)
	}
	return nil
}

// readSecrets is the reader.
func (a *app) readSecrets(ctx context.Context, c *supervise.Config, refs []string) error {
	trust, err := agent.ReadTrust(a.config)
	if err != nil {
		return err
	}
	parsed := make([]agent.SecretRef, len(refs))
	for i, s := range refs {
		if parsed[i], err = agent.ParseSecretRef(trust, s); err != nil {
			return err
		}
	}
	ag, err := a.agent(ctx)
	if err != nil {
		return err
	}
	defer ag.Close()
	return a.runs(supervise.Read(ctx, c, func(ctx context.Context, i int) (*agent.SecretValue, error) {
		return ag.ReadSecret(ctx, parsed[i])
	}))
}

// runs gives a program that cannot be run the exit code that shells give.
func (a *app) runs(err error) error {
	var n *supervise.NotRun
	if !errors.As(err, &n) {
		return err
	}
	a.report(err)
	return exitError(n.ExitCode())
}
