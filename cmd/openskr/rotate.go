package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/internal/deployment"
	"github.com/openskr/openskr/release/receipt"
)

var (
	rotating      = []string{string(deployment.KindLog), string(deployment.KindResponse), string(deployment.KindToken), string(deployment.KindAKCA), string(deployment.KindTLSCA), string(deployment.KindAttestation)}
	rotationSteps = []string{string(deployment.StepAnnounce), string(deployment.StepActivate), string(deployment.StepRetire)}
)

func newRotateCmd(a *app) *cobra.Command {
	var data, config string
	var force bool
	c := &cobra.Command{
		Use:   "rotate KIND STEP --data DIR",
		Short: "Replace one of the deployment's own keys, with overlap",
		Long: `Replace a key of the deployment in three steps, so that nobody is cut off. KIND is
log (signs checkpoints), response (signs release responses), token (signs access
tokens), ak-ca (certifies attestation keys), tls-ca (certifies the broker's TLS
certificate) or attestation (signs the attestation service's tokens, which /certs
lists with every key).

  announce   make the new key and list it in agent.json; the old one still signs.
             Start the broker, and give the new agent.json to images and agents
             before the next step.
             Of the log's keys both sign from now on.
  activate   the new key signs, the old one is still accepted; once more: back.
             Refused while no broker has started since the announcement (--force).
  retire     forget the key that does not sign

Each step is a record, and writes agent.json. The broker must be stopped, and uses
the keys when it starts again.

A credential of an administrator names the TLS CA of its day: after tls-ca was
activated, log in with openskr login --ca DIR/agent.json.`,
		Example: "  openskr rotate response announce --data /var/lib/openskr",
		Args:    rotateArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if data == "" {
				return usagef("rotate: --data is required")
			}
			if err := deployed(data); err != nil {
				return err
			}
			cfg, err := loadConfig(data, config)
			if err != nil {
				return unreadable(err)
			}
			kind, step := deployment.Kind(args[0]), deployment.Step(args[1])
			if err := rotate(cmd.Context(), data, cfg, kind, step, force); err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]any{"kind": kind, "step": step})
			}
			_, err = fmt.Fprintf(a.stdout, "%s key: %s done, and %s/%s is written anew; start the broker\n", kind, step, data, agentFile)
			return err
		},
	}
	c.Flags().StringVar(&data, "data", "", "data `DIR` of the deployment (required)")
	c.Flags().StringVar(&config, "config", "", "configuration `FILE` (default DIR/"+configName+")")
	c.Flags().BoolVar(&force, "force", false, "activate although no broker has started since the announcement")
	return c
}

func rotateArgs(cmd *cobra.Command, args []string) error {
	if err := exactArgs("KIND", "STEP")(cmd, args); err != nil {
		return err
	}
	switch {
	case !slices.Contains(rotating, args[0]):
		return usagef("rotate: no kind of key %q; KIND is %s", args[0], strings.Join(rotating, ", "))
	case !slices.Contains(rotationSteps, args[1]):
		return usagef("rotate: no step %q; STEP is %s", args[1], strings.Join(rotationSteps, ", "))
	}
	return nil
}

// rotate takes one step. Keys count from the next opening on, so the deployment is
// opened again for the agent.json of the new ones.
func rotate(ctx context.Context, data string, cfg *Config, kind deployment.Kind, step deployment.Step, force bool) error {
	take := func(b *broker) error {
		if step == deployment.StepActivate && !force {
			if err := b.announced(ctx, kind); err != nil {
				return err
			}
		}
		return b.dep.Rotate(ctx, b.records(ctx, ""), kind, step)
	}
	for _, work := range []func(*broker) error{take, (*broker).publishTrust} {
		b, err := openBroker(ctx, brokerOptions{
			Dir: data, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: &slog.LevelVar{}, Now: time.Now, Quiet: true,
		})
		if err != nil {
			return err
		}
		err = work(b)
		if cerr := b.close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// logPage is how many entries are read at once.
const logPage = 1000

// announced refuses while no broker has started since the newest announcement of a
// key of this kind: nobody can have its agent.json in use. Without an announcement
// the step itself is refused.
func (b *broker) announced(ctx context.Context, kind deployment.Kind) error {
	waiting := false
	for start := int64(0); start < b.log.Size(); start += logPage {
		entries, err := b.log.Entries(ctx, start, logPage)
		if err != nil {
			return err
		}
		for _, e := range entries {
			rec, err := receipt.Decode(e.Leaf)
			if err != nil {
				return err
			}
			switch {
			case rec.Operation == "broker/start":
				waiting = false
			case rec.Operation == "deployment/rotate" && rec.Detail["kind"] == string(kind) && rec.Detail["step"] == string(deployment.StepAnnounce):
				waiting = true
			}
		}
	}
	if waiting {
		return refused(fmt.Errorf("rotate: no broker has started since the %s key was announced, so no agent can know it: start the broker, give the new %s to agents, and come back (--force: now, and agents are cut off)", kind, agentFile))
	}
	return nil
}
