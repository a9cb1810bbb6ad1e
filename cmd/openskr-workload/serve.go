package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/keyprovider"
	"github.com/openskr/openskr/enclave-agent/local"
)

func (a *app) serveCmd() *cobra.Command {
	var config, user string
	var check bool
	c := &cobra.Command{
		Use: "serve", Short: "Answer other programs of this machine: SKR sidecar, managed identity, key provider",
		Long: "Serves the programs that --serve-config names, and nobody else: keys and attestation with the\n" +
			"endpoints of Microsoft's SKR sidecar (/status, /attest/raw, /attest/maa, /attest/combined, /key/release)\n" +
			"on a Unix socket, or on the loopback with a token; attested access tokens as a managed identity, so\n" +
			"that Azure's libraries log in without a stored credential; and keys of container images as an\n" +
			"ocicrypt key provider. It runs until it is stopped. docs/sidecar.md sets it up.",
		Example: "  curl --unix-socket /run/openskr-workload/api.sock http://localhost/status",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if check {
				return a.checkServe(cmd.Context(), config, user)
			}
			c, err := local.ReadConfig(config)
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), c)
		},
	}
	c.Flags().StringVar(&config, "serve-config", "/etc/openskr/workload.json", "`FILE` that says who may ask for what")
	c.Flags().BoolVar(&check, "check", false, "look at everything that serving needs, say all that is wrong, and end")
	c.Flags().StringVar(&user, "user", "openskr-workload", "with --check by root: the `USER` that serves, when there is one")
	return c
}

// serve answers until ctx ends.
func (a *app) serve(ctx context.Context, c *local.Config) (err error) {
	trust, err := agent.ReadTrust(a.config)
	if err != nil {
		return err
	}
	ag, err := a.agent(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ag.Close()) }()
	log := a.logger()
	s, err := local.New(c, local.Options{Agent: ag, Trust: trust, Log: log, Timeout: a.timeout})
	if err != nil {
		return err
	}
	provider, err := a.provider(c.KeyProvider, ag, log)
	if err != nil {
		return err
	}
	if err := s.Listen(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 2)
	beside := func(run func() error) { // half of it is no service
		go func() {
			defer stop()
			ended <- run()
		}()
	}
	beside(func() error { return a.swap(false).Watch(ctx) })
	if provider == nil {
		ended <- nil
	} else {
		beside(func() error { return provider.Serve(s.Provider()) })
	}
	log.Info("serving", "platform", ag.Platform(), "callers", len(c.Callers))
	if err = local.Notify(); err == nil {
		err = s.Serve(ctx)
	} else {
		err = errors.Join(err, s.Close())
	}
	stop()
	if provider != nil {
		provider.Stop()
	}
	return errors.Join(err, <-ended, <-ended)
}

// provider makes the key provider, nil where there is none.
func (a *app) provider(c *local.KeyProvider, ag *agent.Agent, log *slog.Logger) (*keyprovider.Service, error) {
	if c == nil {
		return nil, nil
	}
	k := keyprovider.Config{Agent: ag, Timeout: a.timeout, Notice: func(text string) { log.Warn(text, "endpoint", "keyprovider") }}
	for _, url := range c.Keys {
		k.Keys = append(k.Keys, keyprovider.Key{URL: url})
	}
	return keyprovider.New(k)
}

// logger writes to standard error; the journal has its own clock.
func (a *app) logger() *slog.Logger {
	o := &slog.HandlerOptions{ReplaceAttr: func(groups []string, at slog.Attr) slog.Attr {
		if at.Key == slog.TimeKey && len(groups) == 0 && os.Getenv("JOURNAL_STREAM") != "" {
			return slog.Attr{}
		}
		return at
	}}
	if a.json {
		return slog.New(slog.NewJSONHandler(a.stderr, o))
	}
	return slog.New(slog.NewTextHandler(a.stderr, o))
}
